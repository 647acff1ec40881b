"""MKG-W and other graphs in OpenKE's files of ids: entity2id.txt, relation2id.txt, train2id.txt.

The first line of each is the count of those that follow: `<name> <id>`, or `<head> <tail> <relation>` by ids. Names are
addresses at Wikidata, whose last part is the entity's text, as long as nobody gives it a label.
"""

from collections.abc import Iterator
from pathlib import Path

from evenclip.errors import InputError
from evenclip.graph.sources.opening import need_file, open_text
from evenclip.graph.tables import Graph


def read_mkg(folder: Path, graph: Graph) -> None:
    """Add the training triples of the graph in ``folder``."""
    entities = _names(need_file(folder, "entity2id.txt"))
    relations = _names(need_file(folder, "relation2id.txt"))
    path = need_file(folder, "train2id.txt")
    for number, fields in _rows(path):
        try:
            head, tail, relation = (int(field) for field in fields)
            h, t, name = entities[head], entities[tail], relations[relation]
        except (ValueError, KeyError):
            graph.leave_out("malformed", f"{path}:{number}")
            continue
        graph.triple(graph.entity(f"wd:{h}", h, kind="sense"), name, graph.entity(f"wd:{t}", t, kind="sense"))


def _names(path: Path) -> dict[int, str]:
    found = {}
    for number, fields in _rows(path):
        if len(fields) != 2 or not fields[1].isdecimal():
            raise InputError("not of the form `name id`", f"{path}:{number}", "fetch it again")
        found[int(fields[1])] = fields[0].rstrip("/").rpartition("/")[2]
    return found


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with open_text(path) as lines:
        announced = next(lines, "").strip()
        n = 0
        for number, line in enumerate(lines, start=2):
            if line.strip():
                n += 1
                yield number, line.split()
    if announced != str(n):
        raise InputError(f"{announced or 'no'} lines announced, {n} there", f"{path}:1", "fetch it again")
