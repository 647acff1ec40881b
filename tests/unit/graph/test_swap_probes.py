"""Swap probes: one thing of a caption is exchanged, and nothing that another caption of the picture may make true."""

from pathlib import Path

import numpy as np
import pytest

from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.graph.swap_probes import gender_swaps, write_swap_probes
from evenclip.provenance import Manifest
from support.tiny_training import square_jpeg

CAPTIONS = [
    ["A man in a red shirt .", "Somebody in red"],
    ["A brown dog is sitting on a couch", "a dog on a couch"],
    ["A small boy runs", "a black and white dog", "a girl"],
    ["mountains"],
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    jpeg = square_jpeg("red", np.random.default_rng(0))
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        for i, captions in enumerate(CAPTIONS):
            writer.add(f"{i}", jpeg, captions, {}, width=32, height=32, sha256="")
    return tmp_path / "data"


def test_each_probe_swaps_one_thing(data: Path, tmp_path: Path):
    counts = write_swap_probes(data, tmp_path / "out", seed=1)
    rows = {row["key"]: row for row in read_pairs(tmp_path / "out").to_pylist()}
    assert counts == {"gender": 1, "color": 3, "attribute": 1, "position": 1, "posture": 1}
    assert rows["gender_0"]["foil"] == "A woman in a red shirt ."
    assert rows["position_1"]["foil"].replace("under", "on") == rows["position_1"]["caption"]
    assert rows["attribute_2"]["foil"] == "A large boy runs"
    assert "red" not in rows["color_0"]["foil"]
    assert not {"black", "white"}.isdisjoint(rows["color_2"]["foil"].split())  # one of the two is left
    assert [key for key, _ in iterate_images(tmp_path / "out")] == list(rows)


def test_equal_seeds_make_equal_probes(data: Path, tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0)):
        write_swap_probes(data, tmp_path / name, seed)
    assert read_pairs(tmp_path / "a").equals(read_pairs(tmp_path / "b"))


@pytest.mark.parametrize(
    ("captions", "swapped"),
    [
        (["Two men talk", "people talk"], ["Two women talk"]),
        (["A girl and a lady"], ["A boy and a gentleman"]),
        (["A man and a woman"], []),
        (["A man", "a lady"], []),
        (["A man with his dog", "A man with a dog"], ["A woman with a dog"]),
        (["a dog"], []),
    ],
)
def test_gender_swaps_keep_captions_consistent(captions: list[str], swapped: list[str]):
    assert [foil for _, foil in gender_swaps(captions)] == swapped


def test_captions_without_anything_to_swap_are_refused(tmp_path: Path):
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        writer.add("0", square_jpeg("red", np.random.default_rng(0)), ["x"], {}, width=32, height=32, sha256="")
    with pytest.raises(InputError, match="anything to swap"):
        write_swap_probes(tmp_path / "data", tmp_path / "out")
