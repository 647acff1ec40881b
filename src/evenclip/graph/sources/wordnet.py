"""WN18RR: lines `head<TAB>relation<TAB>tail` of WordNet synsets, by name (land_reform.n.01) or by offset.

Prefer the files with names: a synset given by offset has only that number as its text.
"""

import re
from pathlib import Path

from evenclip.graph.sources.base import SourceContext, open_text
from evenclip.graph.tables import Graph

DESCRIPTION = "WN18RR's `train.txt`: synsets, by name or by offset; an offset has its number as text"

_SENSE = re.compile(r"\.[nvasr]\.\d+$")


def read(path: Path, graph: Graph, context: SourceContext) -> None:
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
    """Words of a synset's name: land_reform.n.01 -> land reform."""
    return _SENSE.sub("", synset).replace("_", " ")
