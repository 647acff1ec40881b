"""Exported weights, read back by the software that they are for."""

import collections
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from evenclip.cli import app
from evenclip.data.shards import verify_dataset
from evenclip.errors import InputError
from evenclip.export import copies_of, export_weights, sampler
from evenclip.tables import read_table
from support.tiny_training import write_squares, write_weights

KEYS = [f"{i:05d}" for i in range(60)]
COPIES = {key: i % 4 for i, key in enumerate(KEYS)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "data", len(KEYS))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.parquet", COPIES)


def original_key(key: str) -> str:
    return key.partition("~")[0]


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_every_pair_as_often_as_its_copies(data, weights, tmp_path):
    import webdataset as wds

    out = tmp_path / "shards"
    message = export_weights(weights, "webdataset", out, data)
    pairs = list(wds.WebDataset(message.rpartition("; ")[2], shardshuffle=False).decode("pil"))
    counts = collections.Counter(original_key(pair["__key__"]) for pair in pairs)
    assert counts == {key: n for key, n in COPIES.items() if n}
    assert all(pair["jpg"].size == (32, 32) and "square" in pair["txt"] for pair in pairs)
    assert len({pair["__key__"] for pair in pairs}) == len(pairs)
    assert verify_dataset(out) == sum(COPIES.values())


@pytest.mark.filterwarnings("ignore")
def test_open_clip_draws_pairs_by_their_copies(data, weights, tmp_path):
    import webdataset as wds
    from open_clip_train import data as trainer_data
    from open_clip_train import params

    export_weights(weights, "open_clip", tmp_path / "sources", data)
    arguments = params.parse_args(shlex.split((tmp_path / "sources/arguments.txt").read_text()))
    urls, factors = trainer_data.expand_urls(arguments.train_data, arguments.train_data_upsampling_factors)
    seen = collections.Counter()
    for url, factor in zip(urls, factors, strict=True):
        for pair in wds.WebDataset(url, shardshuffle=False):
            seen[pair["__key__"]] += factor
    assert seen == {key: n for key, n in COPIES.items() if n}
    assert arguments.train_num_samples == sum(COPIES.values()) and arguments.dataset_resampled
    drawn = trainer_data.ResampledShards2(arguments.train_data, arguments.train_data_upsampling_factors, nshards=3)
    assert {sample["url"] for sample in drawn} <= set(urls)


def test_datacomp_subset_is_sorted_and_counts_copies(tmp_path):
    uids = [f"{number:032x}" for number in (2**127 + 5, 3, 2**64 + 1, 2**64)]
    path = write_weights(tmp_path / "weights.parquet", dict(zip(uids, (1, 2, 0, 1), strict=True)))
    export_weights(path, "datacomp", tmp_path / "subset.npy")
    subset = np.load(tmp_path / "subset.npy", mmap_mode="r")
    assert subset.dtype == np.dtype("u8,u8") and subset.shape == (4,)
    for uid, copies in zip(uids, (1, 2, 0, 1), strict=True):  # as datacomp's resharder.py looks a pair up
        key = np.array([divmod(int(uid, 16), 2**64)], subset.dtype)[0]
        assert np.searchsorted(subset, key, "right") - np.searchsorted(subset, key, "left") == copies


def test_datacomp_refuses_keys_that_are_not_uids(weights, tmp_path):
    with pytest.raises(InputError, match="the key '00000' is not a uid"):
        export_weights(weights, "datacomp", tmp_path / "subset.npy")


@pytest.mark.filterwarnings("ignore")
def test_datasets_reads_weights_and_copies(weights, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    export_weights(weights, "huggingface", tmp_path / "weights.parquet")
    files = str(tmp_path / "weights.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert dict(zip(loaded["key"], loaded["copies"], strict=True)) == COPIES
    assert loaded.column_names == ["key", "weight", "copies"]


def test_sampler_follows_the_order_of_the_data_set(weights):
    keys = KEYS[::-1]
    drawn = sampler(weights, keys)
    assert drawn.weights.tolist() == [COPIES[key] for key in keys] and len(drawn) == len(keys)
    assert all(COPIES[keys[i]] for i in drawn)


def test_copies_are_positions_in_the_data_set(weights):
    positions = copies_of(weights, KEYS[::-1])
    assert collections.Counter(KEYS[::-1][i] for i in positions) == {key: n for key, n in COPIES.items() if n}
    assert (copies_of(read_table(weights), KEYS[::-1]) == positions).all()


@pytest.mark.parametrize(
    ("keys", "message"), [([*KEYS, "other"], "the key 'other' has no weight"), (KEYS[:-1], "60 weights, but 59 pairs")]
)
def test_weights_of_other_pairs_are_refused(keys, message, weights):
    with pytest.raises(InputError, match=message):
        copies_of(weights, keys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "webdatset", "--out", "x"], "'webdatset' is unknown"),
        (["--as", "webdataset", "--out", "x"], "'webdataset' needs data"),
        (["--as", "datacomp", "--out", "x.npy", "--data", "d"], "'datacomp' takes no data"),
        (["--as", "huggingface", "--out", "x"], "must end in .parquet"),
    ],
)
def test_wrong_arguments_are_one_error(arguments, message, weights):
    result = CliRunner().invoke(app, ["export", str(weights), *arguments])
    assert isinstance(result.exception, InputError) and message in str(result.exception)
