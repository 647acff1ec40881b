"""MKG-W and other graphs in OpenKE's format: entity2id.txt, relation2id.txt, train2id.txt.

The first line of each file is the number of lines that follow: `<name> <id>`, or the ids `<head> <tail> <relation>`.
Names are Wikidata addresses. The files have no labels, so an entity's text is the last part of its address (Q42).
"""

from collections.abc import Iterator
from pathlib import Path

from evenclip.errors import InputError
from evenclip.graph.sources.base import SourceContext, open_text, require_file
from evenclip.graph.tables import Graph

DESCRIPTION = "MKG-W's `entity2id.txt`, `relation2id.txt`, `train2id.txt`: Wikidata items without labels"


def read(path: Path, graph: Graph, context: SourceContext) -> None:
    """Add the training triples of the graph in a folder."""
    entities = _names(require_file(path, "entity2id.txt"))
    relations = _names(require_file(path, "relation2id.txt"))
    triples = require_file(path, "train2id.txt")
    for number, fields in _rows(triples):
        try:
            head, tail, relation = (int(field) for field in fields)
            h, t, name = entities[head], entities[tail], relations[relation]
        except (ValueError, KeyError):
            graph.leave_out("malformed", f"{triples}:{number}")
            continue
        graph.triple(graph.entity(f"wd:{h}", h, kind="sense"), name, graph.entity(f"wd:{t}", t, kind="sense"))


def _names(path: Path) -> dict[int, str]:
    names = {}
    for number, fields in _rows(path):
        if len(fields) != 2 or not fields[1].isdecimal():
            raise InputError("not of the form `name id`", f"{path}:{number}", "fetch it again")
        names[int(fields[1])] = fields[0].rstrip("/").rpartition("/")[2]
    return names


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with open_text(path) as lines:
        recorded = next(lines, "").strip()
        n = 0
        for number, line in enumerate(lines, start=2):
            if line.strip():
                n += 1
                yield number, line.split()
    if recorded != str(n):
        what = f"the first line says {recorded or 'nothing'}, but {n} lines follow"
        raise InputError(what, f"{path}:1", "fetch it again")
