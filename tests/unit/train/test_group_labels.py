"""The bias of what is shown is the bias that the audit of the labels finds; watched batches stay the same."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evenclip.balance import BalanceOptions, audit, balance
from evenclip.bias import Contrast
from evenclip.errors import InputError
from evenclip.tables import read_table, write_table
from evenclip.train.batches import WeightedBatches
from evenclip.train.group_labels import BiasLoggingBatches, GroupLabels, read_group_labels

N = 400


def write_labels(path: Path, groups: int = 2, seed: int = 0, n: int = N) -> pa.Table:
    """Labels of ``n`` pairs: people in half of them, of 2 or 3 perceived groups, that lean to one label."""
    rng = np.random.default_rng(seed)
    group = np.where(rng.random(n) < 0.6, rng.choice(groups, n, p=[0.7, *[0.3 / (groups - 1)] * (groups - 1)]), -1)
    columns = {"key": pa.array([f"{i:05d}" for i in range(n)])}
    for g in range(groups):
        unknown = rng.random(n) < 0.05
        columns[f"sensitive.group.g{g}"] = pa.array(group == g, mask=unknown)
    columns["target.lorker"] = pa.array((rng.random(n) < 0.3) & (group == 0))
    columns["target.dasker"] = pa.array(rng.random(n) < 0.2)
    columns["utility"] = pa.array(rng.random(n), pa.float32())
    write_table(pa.table(columns), path)
    return pa.table(columns)


@pytest.mark.parametrize("groups", [2, 3])
def test_bias_is_that_of_the_audit(tmp_path: Path, groups: int):
    labels = write_labels(tmp_path / "labels.parquet", groups)
    copies = np.random.default_rng(1).integers(0, 3, N).astype(np.uint8)
    weights = pa.table({"key": labels["key"], "weight": pa.array(np.ones(N, np.float32)), "copies": copies})
    expected = audit(labels, weights, BalanceOptions(), n_bootstrap=0, min_group=1)
    keys = np.array(labels["key"].to_pylist())
    order = np.random.default_rng(2).permutation(N)
    group_labels = read_group_labels(tmp_path / "labels.parquet", keys[order])
    bias = group_labels.bias(group_labels.masses(np.arange(N), copies[order].astype(float)))
    assert bias.rb == pytest.approx(expected["rb"]["realised"]["value"])
    assert bias.ab == pytest.approx(expected["ab"]["realised"]["value"])


def make_group_labels() -> GroupLabels:
    contrast = Contrast("group.g0", np.arange(N) < 100, np.arange(N) >= 200, 0.5)
    return GroupLabels((contrast,), np.arange(N)[:, None] % 2 == 0)


@pytest.mark.parametrize(
    ("groups", "options"),
    [
        (2, {"target": {"group.g1": 0.3}}),
        (2, {"attribute_coding": "one_hot", "target": {"group.g1": 0.3}}),
        (3, {"attribute_coding": "one_hot"}),
        (3, {"strategy": "none", "target": {"group": 0.2}}),
    ],
)
def test_history_of_an_epoch_equals_the_audit_of_its_weights(tmp_path: Path, groups: int, options: dict):
    n = 4000
    labels = write_labels(tmp_path / "labels.parquet", groups, n=n)
    chosen = BalanceOptions(**options)
    balance(tmp_path / "labels.parquet", tmp_path / "strategy", chosen)
    weights = tmp_path / "strategy" / "weights.parquet"
    expected = audit(labels, weights, chosen, n_bootstrap=0, min_group=1)
    keys = np.array(labels["key"].to_pylist())
    group_labels = read_group_labels(tmp_path / "labels.parquet", keys, weights)
    batches = BiasLoggingBatches(
        WeightedBatches(read_table(weights)["copies"].to_numpy().astype(int), n, 0), group_labels
    )
    logged = batches.logged([batches.at(0)])  # one batch is the whole epoch
    for name in ("rb", "ab"):
        assert logged[f"realised_{name}"] == pytest.approx(expected[name]["realised"]["value"], abs=1e-12)


def test_bias_of_pairs_without_any_group_is_undefined():
    group_labels = make_group_labels()
    bias = group_labels.bias(group_labels.masses(np.arange(120, 180)))
    assert np.isnan(bias.rb) and np.isnan(bias.ab)


@pytest.mark.parametrize(("change", "message"), [("lack", "has no weight"), ("add", "key 'more' is not in")])
def test_weights_of_other_rows_are_refused(tmp_path: Path, change: str, message: str):
    keys = write_labels(tmp_path / "labels.parquet")["key"].to_pylist()
    weighed = keys[1:] if change == "lack" else [*keys, "more"]
    write_table(pa.table({"key": weighed, "copies": [1] * len(weighed)}), tmp_path / "weights.parquet")
    with pytest.raises(InputError, match=message):
        read_group_labels(tmp_path / "labels.parquet", np.array(keys), tmp_path / "weights.parquet")


def test_batches_that_are_watched_log_the_bias_of_what_was_shown():
    group_labels, plain = make_group_labels(), WeightedBatches(np.ones(N, int), 20, 0)
    watched = BiasLoggingBatches(plain, group_labels)
    seen = []
    for start in range(0, 200, 10):
        batches = [watched.at(step) for step in range(start, start + 10)]
        seen += batches
        logged = watched.logged(batches)
    age = np.arange(len(seen))[::-1]
    weight = np.repeat((1 - 1 / 20.0) ** age, 20)
    rows = np.concatenate([batch.rows for batch in seen])
    bias = group_labels.bias(group_labels.masses(rows, weight))
    assert logged == pytest.approx({"realised_rb": bias.rb, "realised_ab": bias.ab})
    assert bias.rb == pytest.approx(1 / 2 - 1 / 3, abs=0.03)


def test_what_was_shown_is_remembered_over_a_stop():
    first, second = (BiasLoggingBatches(WeightedBatches(np.ones(N, int), 20, 0), make_group_labels()) for _ in range(2))
    first.logged([first.at(0)])
    second.restore(first.state())
    assert second.logged([second.at(1)]) == first.logged([first.at(1)])


@pytest.mark.parametrize(
    ("drop", "keys", "message"),
    [
        ("target", ["00000"], "no column target"),
        ("sensitive", ["00000"], "no column sensitive"),
        ("", ["00000", "stray"], "key 'stray' has no labels"),
    ],
)
def test_a_table_without_needed_columns_or_keys_is_an_error(tmp_path: Path, drop: str, keys: list[str], message: str):
    table = write_labels(tmp_path / "labels.parquet")
    names = [name for name in table.column_names if not drop or not name.startswith(drop)]
    write_table(table.select(names), tmp_path / "labels.parquet")
    with pytest.raises(InputError, match=message):
        read_group_labels(tmp_path / "labels.parquet", np.array(keys))
