"""Swapped captions are false by the world's truth, and as many as can be; real captions keep their grammar."""

import itertools
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evenclip.data.options import WorldOptions
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import read_pairs
from evenclip.data.world.captions import PARTS, compose
from evenclip.data.world.scene import OPPOSITE, Scene
from evenclip.data.world.synthesize import draw_sample, synthesize
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.graph.captions.negatives import NEGATIVES_SCHEMA, Swap, draw_swaps, substitute
from evenclip.provenance import Manifest

N = 300


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, WorldOptions]:
    folder = tmp_path_factory.mktemp("world") / "train"
    options = WorldOptions(image_px=32, low_quality_share=0.3)
    synthesize(folder, "train", N, 0, options)
    return folder, options


def negatives_of(out: Path, data: Path, *sources: str, **options) -> list[dict[str, str]]:
    build_graph([GraphSource.from_argument(source) for source in sources], out, data, GraphOptions(**options))
    table = pq.read_table(out / "negatives.parquet")
    assert table.schema.equals(NEGATIVES_SCHEMA)
    return table.to_pylist()


@pytest.fixture(scope="module")
def negatives(world, tmp_path_factory) -> list[dict[str, str]]:
    knowledge, out = world[0] / "knowledge", tmp_path_factory.mktemp("graph") / "graph"
    sources = (f"visual_genome={knowledge}", f"conceptnet={knowledge / 'conceptnet-assertions.csv'}")
    return negatives_of(out, world[0], *sources, negatives_per_caption=100)


@cache
def true_captions(scene: Scene) -> set[str]:
    """Every caption of the world's grammar without a denial that is true of the scene: by composing them all."""
    scenes = [scene]
    if len(scene.things) == 2:
        scenes.append(replace(scene, things=scene.things[::-1], place=OPPOSITE[scene.place]))
    for thing in scene.things:
        sides = ("left" if thing.x < 0.5 else "right", "above" if thing.y < 0.5 else "below")
        scenes += [replace(scene, things=(thing,), figure=None, place=side) for side in sides]
    choices = [frozenset(parts) for n in range(len(PARTS) + 1) for parts in itertools.combinations(PARTS, n)]
    return {compose(variant, parts, first) for variant in scenes for parts in choices for first in (False, True)}


def is_true(caption: str, scene: Scene) -> bool:
    denial = re.search(r" and no (\w+ \w+)", caption)
    if denial and denial[1] in {thing.name for thing in scene.things}:
        return False
    return caption.replace(denial[0] if denial else "", "") in true_captions(scene)


def test_all_swaps_are_false_by_the_worlds_truth(world, negatives):
    scenes = {f"{index:09d}": draw_sample("train", index, 0, world[1]).scene for index in range(N)}
    assert len(negatives) > 5 * N
    assert not [row for row in negatives if is_true(row["text"], scenes[row["key"]])]


def test_own_captions_of_the_world_are_true_by_this_check(world):
    """But for captions of another picture, and those that leave the object out."""
    rows = read_pairs(world[0], ["key", "caption", "caption_of"]).to_pylist()
    own = [row for row in rows if row["caption_of"] == "own" and row["caption"].split(" in ")[0].count(" ") >= 4]
    assert len(own) > 100
    assert all(is_true(row["caption"], draw_sample("train", int(row["key"]), 0, world[1]).scene) for row in own)


def test_every_kind_of_swap_is_there(negatives):
    swapped = {(row["kind"], row["swapped"], row["replacement"]) for row in negatives}
    assert {("attribute", "red", "blue"), ("attribute", "small", "large"), ("relation", "left of", "right of"),
            ("relation", "above", "below"), ("object", "circle", "star"), ("object", "yard", "kitchen"),
            ("attribute", "zubbin", "tamlet"), ("relation", "on the left", "on the right")} <= swapped  # fmt: skip
    assert not {pair for pair in swapped if pair[0] == "object" and pair[2] in ("zubbin", "tamlet")}


def test_the_negatives_are_the_captions_but_for_one_swap(negatives):
    for row in negatives:
        assert row["text"] != row["caption"]
        assert row["text"].replace(row["replacement"], "", 1).split() != row["caption"].split()
        assert row["swapped"] in row["caption"] and row["replacement"] in row["text"]


def test_denied_things_are_left_alone(negatives):
    denied = [row for row in negatives if " no " in row["caption"]]
    assert denied
    for row in denied:
        after = row["caption"].split(" no ")[1].split(" in the ")[0]
        assert f" no {after}" in row["text"]


def make_data(folder: Path, captions: dict[str, list[str]]) -> Path:
    with write_shards(folder, Manifest("data", {}, {})) as writer:
        for key, texts in captions.items():
            writer.add(key, b"jpeg", texts, {}, width=10, height=10, sha256=key)
    return folder


def test_captions_alone_give_a_scene_graph_to_check_with(tmp_path):
    captions = {
        "a": ["A brown dog in front of a red house .", "A dog sits by a house ."],
        "b": ["A brown dog and a white dog run on a beach ."],
    }
    data = make_data(tmp_path / "data", captions)
    rows = negatives_of(tmp_path / "g", data, f"captions={data}", negatives_per_caption=100)
    texts = {row["text"] for row in rows}
    assert "A blue dog in front of a red house ." in texts
    assert "A brown dog behind a red house ." in texts
    assert "A white dog and a white dog run on a beach ." not in texts
    assert "A black dog and a white dog run on a beach ." in texts
    assert "A brown dog and a white dog run under a beach ." in texts


def test_facts_of_a_namesake_object_give_no_false_caption(tmp_path):
    (tmp_path / "isa.txt").write_text("".join(f"IsA\t{name}\tanimal\n" for name in ("dog", "cat", "horse")))
    data = make_data(tmp_path / "data", {
        "a": ["A dog in front of a house and a dog behind a house .", "A dog behind a house ."],
        "b": ["A dog on a couch .", "A cat on a couch ."],
        "c": ["A horse on a couch ."],
    })  # fmt: skip
    rows = negatives_of(tmp_path / "g", data, f"captions={data}", f"conceptnet={tmp_path / 'isa.txt'}")
    assert not [row for row in rows if row["kind"] == "relation" and row["key"] == "a"]
    objects = {(row["key"], row["swapped"], row["replacement"]) for row in rows if row["kind"] == "object"}
    assert objects == {("a", "dog", "cat"), ("a", "dog", "horse"), ("b", "dog", "horse"), ("b", "cat", "horse"),
                       ("c", "horse", "dog"), ("c", "horse", "cat")}  # fmt: skip


def test_a_place_is_swapped_only_where_the_boxes_say_so(tmp_path):
    data = make_data(tmp_path / "data", {"1": ["a star on the left"], "2": ["a star on the left"]})
    boxes = {1: [(0, 0, 4, 4)], 2: [(6, 0, 4, 4)]}
    scenes = [
        {"image_id": image, "relationships": [], "objects": [
            {"object_id": image, "names": ["star"], "x": x, "y": y, "w": w, "h": h} for x, y, w, h in boxes_of_image]}
        for image, boxes_of_image in boxes.items()
    ]  # fmt: skip
    (tmp_path / "scene_graphs.json").write_text(json.dumps(scenes))
    rows = negatives_of(tmp_path / "g", data, f"visual_genome={tmp_path / 'scene_graphs.json'}")
    assert [(row["key"], row["text"]) for row in rows] == [("1", "a star on the right")]


def test_captions_without_a_scene_graph_have_no_negatives(tmp_path):
    data = make_data(tmp_path / "data", {"a": ["A brown dog on a beach ."]})
    assert negatives_of(tmp_path / "g", data, f"pairs={data}") == []


def test_negatives_are_limited_per_caption_and_reproducible(world, tmp_path):
    knowledge = world[0] / "knowledge"
    rows = [negatives_of(tmp_path / name, world[0], f"visual_genome={knowledge}") for name in ("a", "b")]
    assert rows[0] == rows[1]
    counts = np.unique([f"{row['key']} {row['caption']}" for row in rows[0]], return_counts=True)[1]
    assert counts.max() == GraphOptions().negatives_per_caption
    assert negatives_of(tmp_path / "c", world[0], f"visual_genome={knowledge}", negatives_per_caption=0) == []


def test_kinds_and_words_take_turns():
    swaps = [Swap("attribute", (0, 1), c) for c in "abcdef"] + [
        Swap("object", (2, 3), "x"),
        Swap("object", (4, 5), "y"),
    ]
    chosen = draw_swaps(swaps, 3, np.random.default_rng(0))
    assert {swap.span for swap in chosen} == {(0, 1), (2, 3), (4, 5)}


@pytest.mark.parametrize(
    ("caption", "span", "replacement", "text"),
    [
        ("a red car", (2, 5), "orange", "an orange car"),
        ("An apple", (3, 8), "pear", "A pear"),
        ("the red car", (4, 7), "orange", "the orange car"),
        ("a big red car", (6, 9), "orange", "a big orange car"),
    ],
)
def test_substitution_adapts_the_article(caption, span, replacement, text):
    assert substitute(caption, Swap("attribute", span, replacement)) == text
