"""ConceptNet: the dump of assertions of version 5.7, or the triples of CN-100K and CN-82K.

The dump has five tab-separated columns: URI, relation, start, end, JSON; concepts are `/c/<language>/<term>[/...]`, of
which the term counts, so that senses are one entity. CN-100K has relation, head, tail [, weight].
"""

from pathlib import Path

from evenclip.graph.sources.opening import open_text
from evenclip.graph.tables import Graph


def read_conceptnet(path: Path, graph: Graph, language: str) -> None:
    """Add the assertions between two terms of ``language``; CN-100K is English, whatever ``language`` is."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 5 and fields[0].startswith("/a/"):
                relation = fields[1].removeprefix("/r/")
                head, tail = _term(fields[2], language), _term(fields[3], language)
                if head is None or tail is None:
                    graph.leave_out("other_language")
                    continue
            elif len(fields) in (3, 4) and all(fields[:3]):
                relation, head, tail = (field.strip() for field in fields[:3])
            else:
                graph.leave_out("malformed", f"{path}:{number}")
                continue
            graph.triple(graph.entity(f"cn:{head}", head), relation, graph.entity(f"cn:{tail}", tail))


def _term(uri: str, language: str) -> str | None:
    """The words of a concept of ``language``, None for anything else (other languages, web addresses)."""
    parts = uri.split("/")
    if len(parts) < 4 or parts[1] != "c" or parts[2] != language or not parts[3]:
        return None
    return parts[3].replace("_", " ")
