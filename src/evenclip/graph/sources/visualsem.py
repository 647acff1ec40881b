"""VisualSem: nodes.json {id: {ms: name, se, ims: [images]}}, tuples.json {tail: [{s: head, r: relation}]}, glosses.

A node's text is its name and the first gloss in the chosen language, from `nodes.glosses.json` or `glosses.json` (a
list of {id: {language: [gloss]}} after a header). Its picture is the first of its images that is available.
"""

from pathlib import Path

from evenclip.graph.sources.base import SourceContext, find_file, read_json, require_file
from evenclip.graph.tables import Graph

DESCRIPTION = "`nodes.json`, `tuples.json`, `nodes.glosses.json`: nodes with name, gloss and first available picture"


def read(path: Path, graph: Graph, context: SourceContext) -> None:
    """Add the nodes and triples of a folder."""
    glosses = _glosses(path, context.language)
    nodes: dict[str, int] = {}
    nodes_file = require_file(path, "nodes.json", "nodes.v2.json")
    for name, node in read_json(nodes_file):
        try:
            title = str(node["ms"]).replace("_", " ")
            images = [str(image) for image in node.get("ims") or []]
        except (KeyError, TypeError, AttributeError):
            graph.leave_out("malformed", f"{nodes_file}: node {name}")
            continue
        key = next((key for image in images if (key := context.pictures.of(image))), None)
        if images and key is None:
            graph.leave_out("pictures_that_are_not_there")
        text = f"{title}: {glosses[name]}" if name in glosses else title
        nodes[name] = graph.entity(f"vs:{name}", text, key, kind="sense", name=title)
    tuples_file = require_file(path, "tuples.json", "tuples.v2.json")
    for tail, link in read_json(tuples_file):
        try:
            graph.triple(nodes[link["s"]], link["r"], nodes[tail])
        except (KeyError, TypeError):
            graph.leave_out("malformed", f"{tuples_file}: a tuple of {tail}")


def _glosses(folder: Path, language: str) -> dict[str, str]:
    path = find_file(folder, "nodes.glosses.json", "glosses.json")
    glosses: dict[str, str] = {}
    for _, entry in read_json(path) if path else ():
        for name, texts in entry.items() if isinstance(entry, dict) else ():
            if isinstance(texts, dict) and texts.get(language):
                glosses[name] = str(texts[language][0])
    return glosses
