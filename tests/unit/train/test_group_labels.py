"""The bias of what is shown is the bias that the audit of the labels finds; watched batches stay the same."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evenclip.balance import BalanceOptions
from evenclip.balance.audit import audit
from evenclip.errors import InputError
from evenclip.tables import write_table
from evenclip.train.batches import WeightedBatches
from evenclip.train.group_labels import Audited, Perceived, read_perceived

N = 400


def write_labels(path: Path, groups: int = 2, seed: int = 0) -> pa.Table:
    """Labels of ``N`` pairs: people in half of them, of 2 or 3 perceived groups, that lean to one label."""
    rng = np.random.default_rng(seed)
    group = np.where(rng.random(N) < 0.6, rng.choice(groups, N, p=[0.7, *[0.3 / (groups - 1)] * (groups - 1)]), -1)
    columns = {"key": pa.array([f"{i:05d}" for i in range(N)])}
    for g in range(groups):
        unknown = rng.random(N) < 0.05
        columns[f"sensitive.group.g{g}"] = pa.array(group == g, mask=unknown)
    columns["target.lorker"] = pa.array((rng.random(N) < 0.3) & (group == 0))
    columns["target.dasker"] = pa.array(rng.random(N) < 0.2)
    columns["utility"] = pa.array(rng.random(N), pa.float32())
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
    perceived = read_perceived(tmp_path / "labels.parquet", keys[order])
    rb, ab = perceived.bias(perceived.masses(np.arange(N), copies[order].astype(float)))
    assert rb == pytest.approx(expected["rb"]["realised"]["value"])
    assert ab == pytest.approx(expected["ab"]["realised"]["value"])


def make_perceived() -> Perceived:
    inside, outside = np.arange(N)[:, None] < 100, np.arange(N)[:, None] >= 200
    return Perceived(("group.g0",), inside, outside, np.array([0.5]), np.arange(N)[:, None] % 2 == 0)


def test_batches_that_are_watched_log_the_bias_of_what_was_shown():
    perceived, plain = make_perceived(), WeightedBatches(np.ones(N, int), 20, 0)
    watched = Audited(plain, perceived)
    seen = []
    for start in range(0, 200, 10):
        batches = [watched.at(step) for step in range(start, start + 10)]
        seen += batches
        logged = watched.logged(batches)
    age = np.arange(len(seen))[::-1]
    weight = np.repeat((1 - 1 / 20.0) ** age, 20)
    rows = np.concatenate([batch.rows for batch in seen])
    rb, ab = perceived.bias(perceived.masses(rows, weight))
    assert logged == pytest.approx({"realised_rb": rb, "realised_ab": ab})
    assert rb == pytest.approx(1 / 2 - 1 / 3, abs=0.03)


def test_what_was_shown_is_remembered_over_a_stop():
    first, second = (Audited(WeightedBatches(np.ones(N, int), 20, 0), make_perceived()) for _ in range(2))
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
def test_a_table_that_cannot_tell_is_an_error(tmp_path: Path, drop: str, keys: list[str], message: str):
    table = write_labels(tmp_path / "labels.parquet")
    names = [name for name in table.column_names if not drop or not name.startswith(drop)]
    write_table(table.select(names), tmp_path / "labels.parquet")
    with pytest.raises(InputError, match=message):
        read_perceived(tmp_path / "labels.parquet", np.array(keys))
