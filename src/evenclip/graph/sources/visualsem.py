"""VisualSem: nodes.json {id: {ms: name, se, ims: [images]}}, tuples.json {tail: [{s: head, r: relation}]}, glosses.

Of `nodes.glosses.json` or `glosses.json`, a list of {id: {language: [gloss]}} after a header, the first gloss in the
language stands behind the name. A node's picture is the first of its images that is there.
"""

from pathlib import Path

from evenclip.data.picture_keys import PictureKeys
from evenclip.graph.sources.opening import find_file, need_file, read_json
from evenclip.graph.tables import Graph


def read_visualsem(folder: Path, graph: Graph, pictures: PictureKeys, language: str) -> None:
    """Add the nodes and tuples in ``folder``."""
    glosses = _glosses(folder, language)
    nodes: dict[str, int] = {}
    path = need_file(folder, "nodes.json", "nodes.v2.json")
    for name, node in read_json(path):
        try:
            title = str(node["ms"]).replace("_", " ")
            images = [str(image) for image in node.get("ims") or []]
        except (KeyError, TypeError, AttributeError):
            graph.leave_out("malformed", f"{path}: node {name}")
            continue
        key = next((key for image in images if (key := pictures.of(image))), None)
        if images and key is None:
            graph.leave_out("pictures_that_are_not_there")
        text = f"{title}: {glosses[name]}" if name in glosses else title
        nodes[name] = graph.entity(f"vs:{name}", text, key, kind="sense", name=title)
    path = need_file(folder, "tuples.json", "tuples.v2.json")
    for tail, link in read_json(path):
        try:
            graph.triple(nodes[link["s"]], link["r"], nodes[tail])
        except (KeyError, TypeError):
            graph.leave_out("malformed", f"{path}: a tuple of {tail}")


def _glosses(folder: Path, language: str) -> dict[str, str]:
    path = find_file(folder, "nodes.glosses.json", "glosses.json")
    found: dict[str, str] = {}
    for _, entry in read_json(path) if path else ():
        for name, texts in entry.items() if isinstance(entry, dict) else ():
            if isinstance(texts, dict) and texts.get(language):
                found[name] = str(texts[language][0])
    return found
