"""Visual Genome's `scene_graphs.json`: objects of each image with their boxes, attributes and relationships.

Each object is an entity: the region of the image in its box, with its first name as text. It "is an image of" its
concept: the annotated WordNet synset or, without one, the term of its name. Attributes are terms, linked to the object
by "has attribute". The file is 740 MB large and is read image by image.
"""

from pathlib import Path
from typing import Any

from evenclip.data.picture_keys import PictureKeys
from evenclip.graph.sources.base import SourceContext, read_json, require_file
from evenclip.graph.sources.wordnet import words
from evenclip.graph.tables import HAS_ATTRIBUTE, IMAGE_OF, IS_A, Graph

DESCRIPTION = "`scene_graphs.json`: objects with their picture, box and name; attributes as text"


def read(path: Path, graph: Graph, context: SourceContext) -> None:
    """Add the scene graphs of a file, or of the folder that holds it."""
    path = require_file(path, "scene_graphs.json") if path.is_dir() else path
    for number, (_, image) in enumerate(read_json(path)):
        try:
            _add_image(image, graph, context.pictures)
        except (KeyError, TypeError, ValueError, IndexError):
            graph.leave_out("malformed", f"{path}: image {number}")


def _add_image(image: dict[str, Any], graph: Graph, pictures: PictureKeys) -> None:
    key = pictures.of(int(image["image_id"]))
    if key is None:
        graph.leave_out("pictures_that_are_not_there")
    objects: dict[int, int] = {}
    for record in image["objects"]:
        box, name = tuple(int(record[side]) for side in "xywh"), _clean(record["names"][0])
        number = graph.entity(f"vg:{record['object_id']}", name, key, box, kind="thing")
        objects[record["object_id"]] = number
        synset = next(iter(record.get("synsets") or []), None)
        if synset is None:
            concept = graph.entity(f"vg:name {name}", name)
        else:
            concept = graph.entity(f"wn:{synset}", words(synset), kind="sense")
        graph.triple(number, IS_A if key is None else IMAGE_OF, concept)
        for attribute in record.get("attributes") or []:
            if text := _clean(attribute):
                graph.triple(number, HAS_ATTRIBUTE, graph.entity(f"vg:name {text}", text))
    for link in image["relationships"]:
        if predicate := _clean(link["predicate"]):
            graph.triple(objects[link["subject_id"]], predicate, objects[link["object_id"]])


def _clean(text: str) -> str:
    """An annotator's free text in lower case, with single spaces and without full stops."""
    return " ".join(text.lower().replace(".", " ").split())
