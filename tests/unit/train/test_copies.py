"""The weights of a training are those of its data: no key more, and none less than labelling dropped."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evenclip.balance import BalanceOptions, balance
from evenclip.data.shard_writer import write_shards
from evenclip.digests import with_digest
from evenclip.errors import InputError
from evenclip.provenance import Manifest, write_json
from evenclip.tables import digest_of_keys, write_table
from evenclip.train.copies import read_copies
from support.tiny_training import write_weights

KEYS = np.array(["a", "b", "c", "d"])


def data_folder(path: Path, name: str = "mine") -> Path:
    with write_shards(path, Manifest("data", {}, {})) as writer:
        for key in KEYS:
            writer.add(key, name.encode(), ["red"], {}, width=1, height=1, sha256="")
    return path


def balanced(root: Path, keys: str = "abcd", dropped: str = "", data: Path | None = None) -> Path:
    """Weights that `evenclip balance` makes of labels of ``keys``, of which labelling dropped some."""
    table = {"key": list(keys), "sensitive.g.x": [i % 2 > 0 for i in range(len(keys))]}
    table |= {"sensitive.g.y": [i % 2 == 0 for i in range(len(keys))], "target.t": [True] * len(keys)}
    labels = root / "labels.parquet"
    write_table(pa.table(table), labels)
    if data is not None:
        of_dropped = {"n_dropped": len(dropped), "dropped_keys": digest_of_keys(pa.array(list(dropped), pa.string()))}
        manifest = Manifest("label", {}, {"data": data})
        manifest.write(labels.with_suffix(".json"), [labels], n=len(keys), **of_dropped if dropped else {})
    balance(labels, root / "w", BalanceOptions(strategy="none"))
    return root / "w" / "weights.parquet"


def test_copies_are_joined_by_key(tmp_path):
    weights = write_weights(tmp_path / "w.parquet", {"d": 4, "b": 2, "a": 1, "c": 0})
    assert read_copies(weights, KEYS, tmp_path).tolist() == [1, 2, 0, 4]


@pytest.mark.parametrize(("keys", "message"), [
    ("abc", r"w.parquet: 1 of the 4 pairs of .*data have no weight, e.g. 'd'\n"),
    ("abcdef", r"w.parquet: 2 of its 6 keys are not in .*data, e.g. 'e'\n"),
    ("abce", r"w.parquet: 1 of its 4 keys are not in"),
])  # fmt: skip
def test_weights_that_lack_or_add_keys_are_refused(keys, message, tmp_path):
    weights = write_weights(tmp_path / "w.parquet", dict.fromkeys(keys, 1))
    with pytest.raises(InputError, match=message):
        read_copies(weights, KEYS, tmp_path / "data")


def test_own_labels_of_fewer_pairs_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"1 of the 4 pairs .* e.g. 'd'\n.*0 copies"):
        read_copies(balanced(tmp_path, "abc"), KEYS, data_folder(tmp_path / "data"))


def test_pairs_that_labelling_dropped_are_not_shown(tmp_path, capsys):
    data = data_folder(tmp_path / "data")
    weights = balanced(tmp_path, "bd", dropped="ca", data=data)
    assert read_copies(weights, KEYS, data).tolist() == [0, 1, 0, 1]
    assert "2 of 4 pairs were dropped by labelling" in capsys.readouterr().err


@pytest.mark.parametrize(("keys", "dropped", "message"), [
    ("abd", "a", "1 of the 4 pairs .* 'c', and labelling dropped 1 pairs, not these"),
    ("ab", "c", "2 of the 4 pairs .* 'c', and labelling dropped 1 pairs, not these"),
    ("abc", "", "1 of the 4 pairs .* 'd'\n"),
    ("abcd", "a", "0 of the 4 pairs .* no weight, and labelling dropped 1 pairs, not these"),
])  # fmt: skip
def test_other_pairs_than_the_dropped_ones_are_refused(keys, dropped, message, tmp_path):
    data = data_folder(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        read_copies(balanced(tmp_path, keys, dropped, data), KEYS, data)


def test_weights_of_other_data_with_the_same_keys_are_refused(tmp_path):
    own, other = data_folder(tmp_path / "mine"), data_folder(tmp_path / "other", "other")
    weights = balanced(tmp_path, data=other)
    assert read_copies(weights, KEYS, other).tolist() == [1] * 4
    with pytest.raises(InputError, match="made from labels of other data than .*mine"):
        read_copies(weights, KEYS, own)


def test_a_manifest_that_was_edited_is_refused(tmp_path):
    data = data_folder(tmp_path / "data")
    weights = balanced(tmp_path, "bcd", dropped="a", data=data)
    path = weights.with_name("manifest.json")
    manifest = json.loads(path.read_text())
    manifest["labelled"]["dropped_keys"] = "0" * 16
    write_json(manifest, path)
    with pytest.raises(InputError, match="its digest is another one"):
        read_copies(weights, KEYS, data)
    write_json(with_digest(manifest), path)
    with pytest.raises(InputError, match="labelling dropped 1 pairs, not these"):
        read_copies(weights, KEYS, data)
