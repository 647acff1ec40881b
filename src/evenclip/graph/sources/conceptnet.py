"""ConceptNet: the assertions of version 5.7, or the triples of CN-100K and CN-82K.

The dump has five tab-separated columns: URI, relation, start, end, JSON. A concept is `/c/<language>/<term>[/...]`;
only the term is kept, so all senses of a term are one entity. CN-100K has the columns relation, head, tail [, weight].
"""

from pathlib import Path

from evenclip.graph.sources.base import SourceContext, open_text
from evenclip.graph.tables import Graph

DESCRIPTION = (
    "assertions of version 5.7 (one language), or CN-100K's triples: terms; all senses of a term are one entity"
)


def read(path: Path, graph: Graph, context: SourceContext) -> None:
    """Add the assertions between two terms of the context's language; CN-100K is always English."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 5 and fields[0].startswith("/a/"):
                relation = fields[1].removeprefix("/r/")
                head, tail = (_term(uri, context.language) for uri in fields[2:4])
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
    """Words of a concept in ``language``; None for another language or a web address."""
    parts = uri.split("/")
    if len(parts) < 4 or parts[1] != "c" or parts[2] != language or not parts[3]:
        return None
    return parts[3].replace("_", " ")
