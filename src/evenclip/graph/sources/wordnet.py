"""WN18RR: lines `head<TAB>relation<TAB>tail` of WordNet synsets, named land_reform.n.01 or by their offset.

An offset has no words; such an entity's text is the offset. Prefer the form with names.
"""

import re
from pathlib import Path

from evenclip.graph.sources.opening import open_text
from evenclip.graph.tables import Graph

_SENSE = re.compile(r"\.[nvasr]\.\d+$")


def read_wordnet(path: Path, graph: Graph) -> None:
    """Add the triples of one file, such as train.txt."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 3 or not all(fields):
                graph.leave_out("malformed", f"{path}:{number}")
                continue
            head, tail = (
                graph.entity(f"wn:{synset}", words(synset), kind="sense") for synset in (fields[0], fields[2])
            )
            graph.triple(head, fields[1].lstrip("_"), tail)


def words(synset: str) -> str:
    """A synset's name as words: land_reform.n.01 -> land reform."""
    return _SENSE.sub("", synset).replace("_", " ")
