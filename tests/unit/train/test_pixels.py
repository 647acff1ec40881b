"""Images from the shards are those from memory, in any order; what goes wrong with a shard is named."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from evenclip.data.shards import iterate_images, locate_images
from evenclip.errors import InputError
from evenclip.model.clip import Clip, create_clip
from evenclip.train import TrainOptions, train_model
from evenclip.train.batches import WeightedBatches
from evenclip.train.data import load_pairs
from evenclip.train.pixels import PixelsInMemory, PixelsInShards, Prefetcher
from support.tiny_training import write_model, write_squares, write_weights

N = 120  # three shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pixels")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": i % 3 for i in range(N)})
    write_model(root / "tiny.json")
    return root


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return create_clip(str(folder / "tiny.json"))


def test_every_image_is_where_it_is_said_to_be(folder: Path):
    for location, (key, content) in zip(locate_images(folder / "data"), iterate_images(folder / "data"), strict=True):
        with open(location.tar, "rb") as tar:
            tar.seek(location.offset)
            assert (location.key, tar.read(location.size)) == (key, content)


def test_a_set_above_the_limit_has_the_same_pixels_from_shards(folder: Path, clip: Clip):
    paths = folder / "data", folder / "weights.parquet"
    held = load_pairs(*paths, clip, threads=1)
    n_mb = len(held.keys) * 3 * 16 * 16 / 2**20
    streamed = load_pairs(*paths, clip, threads=2, cache_mb=n_mb * 0.99)
    assert isinstance(held.pixels, PixelsInMemory) and isinstance(streamed.pixels, PixelsInShards)
    assert isinstance(load_pairs(*paths, clip, threads=1, cache_mb=n_mb).pixels, PixelsInMemory)
    rows = np.random.default_rng(0).permutation(len(held.keys))
    assert torch.equal(held.pixels.at(rows), streamed.pixels.at(rows))


def options(folder: Path, **changes) -> TrainOptions:
    plain = {"model": str(folder / "tiny.json"), "samples_seen": 256, "batch_size": 32, "lr": 3e-3, "log_every": 2}
    return TrainOptions(**plain | {"precision": "fp32", "device": "cpu", "crop_scale_min": 0.8} | changes)


def test_a_streamed_training_ends_in_the_same_weights(folder: Path, tmp_path: Path):
    for name, cache_mb in (("held", 4096), ("streamed", 0)):
        chosen = options(folder, cache_mb=cache_mb)
        train_model(folder / "data", folder / "weights.parquet", tmp_path / name, 0, tmp_path / f"state_{name}", chosen)
    held, streamed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("held", "streamed"))
    assert held == streamed


def test_steps_are_prepared_once_each_and_not_beyond_the_end():
    pixels = PixelsInMemory(np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1))
    batches = WeightedBatches(np.ones(40, np.int64), 4, 0)
    asked = []

    def batch_at(step: int):
        asked.append(step)
        return batches.at(step)

    ahead = Prefetcher(pixels, share=lambda n: slice(n // 2, n), pin=False)
    for step in range(6):
        prepared = ahead.take(step, 6, batch_at)
        assert prepared.batch is batches.at(step)
        assert prepared.pixels.flatten().tolist() == prepared.batch.rows[2:].tolist()
        assert max(asked) <= step + 2
    assert asked == list(range(6))


def copy_of(folder: Path, to: Path) -> Path:
    shutil.copytree(folder / "data", to)
    return to


def test_a_shard_that_vanishes_during_the_training_is_named(folder: Path, tmp_path: Path, clip: Clip):
    data = copy_of(folder, tmp_path / "data")
    pairs = load_pairs(data, folder / "weights.parquet", clip, threads=2, cache_mb=0)
    (data / "00001.tar").unlink()
    with pytest.raises(InputError, match=r"00001\.tar: the shard cannot be read any more \(No such file"):
        pairs.pixels.at(np.arange(len(pairs.keys)))


def test_a_shard_that_shrinks_during_the_training_is_named(folder: Path, tmp_path: Path, clip: Clip):
    data = copy_of(folder, tmp_path / "data")
    pairs = load_pairs(data, folder / "weights.parquet", clip, threads=2, cache_mb=0)
    with open(data / "00000.tar", "r+b") as tar:
        tar.truncate(5000)
    with pytest.raises(InputError, match=r"00000\.tar: the shard cannot be read any more \(it has been written again"):
        pairs.pixels.at(np.arange(len(pairs.keys)))


@pytest.mark.parametrize("cache_mb", [4096, 0])
def test_a_shard_cut_between_two_pairs_is_never_trained_on(folder: Path, tmp_path: Path, clip: Clip, cache_mb: float):
    data = copy_of(folder, tmp_path / "data")
    with tarfile.open(data / "00001.tar") as tar:
        end = tar.getmembers()[3 * 20].offset  # the first member of the 21st pair
    content = (data / "00001.tar").read_bytes()
    (data / "00001.tar").write_bytes(content[:end] + bytes(1024))
    with pytest.raises(InputError, match=r"00001\.tar: it has \d+ bytes"):
        load_pairs(data, folder / "weights.parquet", clip, threads=1, cache_mb=cache_mb)
    (data / "00001.tar").write_bytes(content[:end] + bytes(len(content) - end))  # of the right size
    with pytest.raises(InputError, match=r"00001\.tar: it has changed"):
        load_pairs(data, folder / "weights.parquet", clip, threads=1, cache_mb=cache_mb)


@pytest.mark.parametrize("cache_mb", [4096, 0])
def test_a_changed_shard_stops_the_training_and_is_named(folder: Path, tmp_path: Path, cache_mb: float):
    data = copy_of(folder, tmp_path / "data")
    location = next(location for location in locate_images(data) if location.key == "00052")
    with open(location.tar, "r+b") as tar:
        tar.seek(location.offset + 20)
        tar.write(bytes(location.size - 20))
    with pytest.raises(InputError, match=r"00001\.tar: it has changed"):
        train_model(
            data,
            folder / "weights.parquet",
            tmp_path / "run",
            0,
            tmp_path / "state",
            options(folder, cache_mb=cache_mb),
        )
    assert not (tmp_path / "run").exists()
