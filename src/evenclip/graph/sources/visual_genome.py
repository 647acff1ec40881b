"""Visual Genome's `scene_graphs.json`: for each image its objects, with boxes and attributes, and their relationships.

An object is a thing of its own, the part of the image in its box, with its first name as text. It is an image of its
concept: the WordNet synset that the annotation gives, or else the term of its name. Attributes are terms, tied to the
object by the relation `has attribute`. The file, of 740 MB, is read image by image.
"""

from pathlib import Path
from typing import Any

from evenclip.data.picture_keys import PictureKeys
from evenclip.graph.sources.opening import need_file, read_json
from evenclip.graph.sources.wordnet import words
from evenclip.graph.tables import HAS_ATTRIBUTE, IMAGE_OF, IS_A, Graph


def read_visual_genome(path: Path, graph: Graph, pictures: PictureKeys) -> None:
    """Add the scene graphs of a file, or of the folder that holds it."""
    path = need_file(path, "scene_graphs.json") if path.is_dir() else path
    for number, (_, image) in enumerate(read_json(path)):
        try:
            _add_image(image, graph, pictures)
        except (KeyError, TypeError, ValueError, IndexError):
            graph.leave_out("malformed", f"{path}: image {number}")


def _add_image(image: dict[str, Any], graph: Graph, pictures: PictureKeys) -> None:
    key = pictures.of(int(image["image_id"]))
    if key is None:
        graph.leave_out("pictures_that_are_not_there")
    objects: dict[int, int] = {}
    for thing in image["objects"]:
        box, name = tuple(int(thing[side]) for side in "xywh"), _clean(thing["names"][0])
        number = graph.entity(f"vg:{thing['object_id']}", name, key, box, kind="thing")
        objects[thing["object_id"]] = number
        synset = next(iter(thing.get("synsets") or []), None)
        if synset is None:
            concept = graph.entity(f"vg:name {name}", name)
        else:
            concept = graph.entity(f"wn:{synset}", words(synset), kind="sense")
        graph.triple(number, IS_A if key is None else IMAGE_OF, concept)
        for attribute in thing.get("attributes") or []:
            if text := _clean(attribute):
                graph.triple(number, HAS_ATTRIBUTE, graph.entity(f"vg:name {text}", text))
    for link in image["relationships"]:
        if predicate := _clean(link["predicate"]):
            graph.triple(objects[link["subject_id"]], predicate, objects[link["object_id"]])


def _clean(text: str) -> str:
    """Annotators wrote names freely: lower case, single spaces, no full stops."""
    return " ".join(text.lower().replace(".", " ").split())
