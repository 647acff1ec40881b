"""What is known about the embedded world, in the formats of the public sets it stands for.

Writes into `<data folder>/knowledge/`; `image_id` is the number of the picture, its key without leading zeros.
`train` and `mixed`: `scene_graphs.json` (Visual Genome) and the questions of `evenclip.data.world.questions` (VQA v2).
`train`: `conceptnet-assertions.csv` (ConceptNet 5.7's dump), `nodes.json`, `tuples.json`, `nodes.glosses.json`
(VisualSem). `probes`: `sugarcrepe/<probe>.json`. `evenclip data synthesize` writes them with the split.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evenclip.data.world.captions import RELATION
from evenclip.data.world.drawing import figure_boxes, thing_box
from evenclip.data.world.probes import PROBES
from evenclip.data.world.scene import (
    COLORS,
    GROUPS,
    HOME_SETTING,
    OCCUPATIONS,
    OPPOSITE,
    SETTINGS,
    SHAPES,
    SIZES,
    TOOLS,
    Scene,
)

Triple = tuple[str, str, str]
Box = tuple[float, float, float, float]

_IMAGES_PER_ENTITY = 10
# ConceptNet's relation -> VisualSem's, where it has one that says the same.
_VISUALSEM_RELATIONS = {"IsA": "is-a", "AtLocation": "located-at", "DistinctFrom": "related-to"}


def write_scene_graphs(folder: Path, scenes: Sequence[Scene], image_px: int) -> None:
    """Write `scene_graphs.json`: the objects with boxes and attributes, and the relationships, of every scene."""
    _write_json(
        [scene_graph(scene, image_id, image_px) for image_id, scene in enumerate(scenes)], folder, "scene_graphs"
    )


def scene_graph(scene: Scene, image_id: int, image_px: int) -> dict[str, Any]:
    """One entry of Visual Genome's scene_graphs.json; boxes in pixels, ids unique over the whole file."""
    objects = [_region([thing.shape], [thing.color, thing.size], thing_box(thing), image_px) for thing in scene.things]
    relationships = []
    if scene.figure:
        boxes, figure = figure_boxes(scene.figure), scene.figure
        name, tool = (figure.occupation, TOOLS[figure.occupation]) if figure.tool == "clear" else ("person", "tool")
        objects.append(_region([name], [figure.group] if figure.marked else [], boxes["person"], image_px))
        objects.append(_region([tool], [], boxes["tool"], image_px))
        relationships.append((1, "holding", 2))
    if len(objects) > 1:
        relationships += [(0, RELATION[scene.place], 1), (1, RELATION[OPPOSITE[scene.place]], 0)]
    objects.append(_region([scene.setting], [], (0, 0, 1, 1), image_px))
    relationships += [(k, "in", len(objects) - 1) for k in range(len(objects) - 1)]
    return {
        "image_id": image_id,
        "objects": [{"object_id": 10 * image_id + k, **region} for k, region in enumerate(objects)],
        "relationships": [
            {
                "relationship_id": 10 * image_id + k,
                "predicate": predicate,
                "subject_id": 10 * image_id + subject,
                "object_id": 10 * image_id + other,
                "synsets": [],
            }
            for k, (subject, predicate, other) in enumerate(relationships)
        ],
    }


def common_sense() -> list[Triple]:
    """(head, relation, tail) with ConceptNet's relations: what is so in every scene. None of it speaks of a bias."""
    triples = [(group, "IsA", "person") for group in GROUPS]
    triples += [(occupation, "IsA", "person") for occupation in OCCUPATIONS]
    triples += [(tool, "IsA", "tool") for tool in TOOLS.values()]
    triples += [(tool, "UsedFor", "work") for tool in TOOLS.values()]
    triples += [(occupation, "HasA", tool) for occupation, tool in TOOLS.items()]
    triples += [(occupation, "AtLocation", setting) for occupation, setting in HOME_SETTING.items()]
    triples += [(setting, "IsA", "place") for setting in SETTINGS]
    triples += [(shape, "IsA", "shape") for shape in SHAPES] + [(color, "IsA", "color") for color in COLORS]
    triples += [(first, "Antonym", second) for first, second in OPPOSITE.items()]
    triples += [(SIZES[0], "Antonym", SIZES[1]), (SIZES[1], "Antonym", SIZES[0])]
    for siblings in (GROUPS, SHAPES, COLORS):
        triples += [(first, "DistinctFrom", second) for first, second in itertools.permutations(siblings, 2)]
    return triples


def write_common_sense(folder: Path) -> None:
    """Write `conceptnet-assertions.csv`: tab-separated URI, relation, head, tail and JSON, as ConceptNet's dump."""
    lines = []
    for head, relation, tail in common_sense():
        uris = f"/r/{relation}", f"/c/en/{head}", f"/c/en/{tail}"
        details = json.dumps({"dataset": "/d/evenclip", "weight": 1.0})
        lines.append("\t".join([f"/a/[{uris[0]}/,{uris[1]}/,{uris[2]}/]", *uris, details]))
    (folder / "conceptnet-assertions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_entities(folder: Path, scenes: Sequence[Scene], keys: Sequence[str]) -> None:
    """Write VisualSem's files: nodes with up to ten images each, English glosses, and the tuples between nodes."""
    glosses = dict(_glosses())
    ids = {name: f"bn:{number:08d}n" for number, name in enumerate(glosses, start=1)}
    images: dict[str, list[str]] = {name: [] for name in glosses}
    for key, scene in zip(keys, scenes, strict=True):
        for name in dict.fromkeys(_shown(scene)):
            if len(images[name]) < _IMAGES_PER_ENTITY:
                images[name].append(key)
    tuples: dict[str, list[dict[str, str]]] = {}
    facts = [(h, _VISUALSEM_RELATIONS[r], t) for h, r, t in common_sense() if r in _VISUALSEM_RELATIONS]
    facts += [(tool, "used-by", occupation) for occupation, tool in TOOLS.items()]
    for number, (head, relation, tail) in enumerate((h, r, t) for h, r, t in facts if h in ids and t in ids):
        entry = {"s": ids[head], "r": relation, "r_id": str(number)}
        tuples.setdefault(ids[tail], []).append(entry)
    nodes = {ids[name]: {"ms": name, "se": name, "ims": images[name]} for name in glosses}
    listed = [{"available_languages": ["en"]}, *({ids[name]: {"en": [text]}} for name, text in glosses.items())]
    _write_json(nodes, folder, "nodes")
    _write_json(tuples, folder, "tuples")
    _write_json(listed, folder, "nodes.glosses")


def write_choices(
    folder: Path, keys: Sequence[str], captions: Sequence[str], columns: Sequence[dict[str, str]]
) -> None:
    """Write `sugarcrepe/<probe>.json`: picture, caption and negative caption, one file a probe."""
    (folder / "sugarcrepe").mkdir()
    for probe in PROBES:
        chosen = [k for k, column in enumerate(columns) if column["probe"] == probe]
        entries = {
            str(number): {
                "filename": f"{keys[k]}.jpg",
                "caption": captions[k],
                "negative_caption": columns[k]["foil"],
            }
            for number, k in enumerate(chosen)
        }
        _write_json(entries, folder / "sugarcrepe", probe)


def _region(names: list[str], attributes: list[str], box: Box, image_px: int) -> dict[str, Any]:
    left, top, right, bottom = (min(max(round(edge * image_px), 0), image_px) for edge in box)
    size = {"x": left, "y": top, "w": right - left, "h": bottom - top}
    return {"names": names, "attributes": attributes, "synsets": [], **size}


def _glosses() -> Iterator[tuple[str, str]]:
    yield "person", "A figure in clothes, beside a tool."
    yield "place", "Where a scene is set."
    yield "shape", "The outline of a coloured object."
    yield "tool", "A dark thing that a figure works with."
    yield GROUPS[0], "A person in brown clothes with a pointed hat."
    yield GROUPS[1], "A person in blue-green clothes with a flat hat."
    for occupation, tool in TOOLS.items():
        yield occupation, f"A person who works with a {tool}, most often in the {HOME_SETTING[occupation]}."
        yield tool, f"The tool of a {occupation}."
    for setting in SETTINGS:
        yield setting, f"A place; the background of a scene in the {setting}."
    for shape in SHAPES:
        yield shape, f"A coloured object that is a {shape}."


def _shown(scene: Scene) -> Iterator[str]:
    """The entities that the picture shows."""
    yield scene.setting
    yield from (thing.shape for thing in scene.things)
    if scene.figure:
        yield "person"
        if scene.figure.tool == "clear":
            yield from (scene.figure.occupation, TOOLS[scene.figure.occupation])
        if scene.figure.marked:
            yield scene.figure.group


def _write_json(value: Any, folder: Path, name: str) -> None:
    (folder / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")
