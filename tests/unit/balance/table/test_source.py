"""Labels tables of many types: the same flags give the same weights in any form, or are refused by name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenclip.balance import BalanceOptions, audit, balance
from evenclip.balance.scatter import add_counts, apply_plan, count_part, gather_weights, solve_cells
from evenclip.balance.table.source import Source
from evenclip.errors import InputError
from evenclip.provenance import Manifest
from evenclip.tables import as_flags, read_labels

N = 400
FORMS = {
    "int64": lambda flags: pa.array(flags.astype(np.int64)),
    "uint8": lambda flags: pa.array(flags.astype(np.uint8)),
    "double": lambda flags: pa.array(flags.astype(float)),
    "half float": lambda flags: pa.array(flags.astype(np.float16)),
    "true and False": lambda flags: pa.array(np.where(flags, "true", "False").tolist()),
    "Yes and no": lambda flags: pa.array(np.where(flags, "Yes", "no").tolist()),
    "0 and 1": lambda flags: pa.array(np.where(flags, "1", "0").tolist()),
    "large_string": lambda flags: pa.array(np.where(flags, "yes", "no").tolist(), pa.large_string()),
    "string_view": lambda flags: pa.array(np.where(flags, "yes", "no").tolist(), pa.string_view()),
    "dictionary": lambda flags: pa.array(np.where(flags, "yes", "no").tolist()).dictionary_encode(),
    "dictionary of integers": lambda flags: pa.array(flags.astype(int)).dictionary_encode(),
}


def labels_table() -> pa.Table:
    rng = np.random.default_rng(0)
    woman = rng.random(N) < 0.4
    nurse = rng.random(N) < np.where(woman, 0.3, 0.1)
    keys = [f"k{i:04d}" for i in range(N)]
    return pa.table(
        {"key": keys, "sensitive.gender.woman": woman, "sensitive.gender.man": ~woman, "target.nurse": nurse}
    )


def write_shards(folder, table: pa.Table, column: str, values: pa.Array, first: bool = False) -> list:
    """Two shards, of which one holds ``column`` as ``values``, in the order in which they are read."""
    folder.mkdir()
    other = table.set_column(table.schema.get_field_index(column), column, values)
    halves = [other[: N // 2], table[N // 2 :]] if first else [table[: N // 2], other[N // 2 :]]
    for i, half in enumerate(halves):
        pq.write_table(half, folder / f"{i}.parquet")
    return sorted(folder.glob("*.parquet"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bool")
    shards = write_shards(folder / "labels", labels_table(), "target.nurse", labels_table()["target.nurse"])
    balance(shards, folder / "out", BalanceOptions())
    return pq.read_table(folder / "out" / "weights.parquet")


@pytest.mark.parametrize("first", [True, False], ids=["first file", "second file"])
@pytest.mark.parametrize("column", ["target.nurse", "sensitive.gender.woman"])
@pytest.mark.parametrize("form", FORMS)
def test_flags_of_any_type_give_the_weights_of_bool(form, column, first, expected, tmp_path):
    table = labels_table()
    values = FORMS[form](table[column].to_numpy())
    shards = write_shards(tmp_path / "labels", table, column, values, first)
    balance(tmp_path / "labels", tmp_path / "out", BalanceOptions())
    assert pq.read_table(tmp_path / "out" / "weights.parquet").equals(expected)
    of_shards, wanted = (
        audit(source, tmp_path / "out" / "weights.parquet", n_bootstrap=5) for source in (shards, table)
    )
    assert of_shards == wanted
    assert read_labels(shards[0 if first else 1])[column].type == pa.bool_()


def test_flags_of_any_type_go_through_the_scattered_form(expected, tmp_path):
    table = labels_table()
    shards = write_shards(
        tmp_path / "labels", table, "target.nurse", FORMS["Yes and no"](table["target.nurse"].to_numpy())
    )
    cells = [tmp_path / f"cells{i}.parquet" for i in range(2)]
    for shard, out in zip(shards, cells, strict=True):
        count_part(shard, out, BalanceOptions())
    add_counts(cells, tmp_path / "counts")
    solve_cells(tmp_path / "counts", tmp_path / "plan", BalanceOptions())
    parts = [tmp_path / f"weights{i}.parquet" for i in range(2)]
    for i, shard in enumerate(shards):
        apply_plan(shard, i + 1, tmp_path / "counts", tmp_path / "plan", parts[i])
    gather_weights(parts, tmp_path / "plan", tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "weights.parquet").equals(expected)


@pytest.mark.parametrize("first", [True, False], ids=["first file", "second file"])
@pytest.mark.parametrize(
    "values", [pa.nulls(N), pa.array([float("nan")] * N), pa.nulls(N, pa.string())], ids=["null", "NaN", "null string"]
)
def test_unknown_groups_of_one_file_are_those_of_null_flags(values, first, tmp_path):
    table = labels_table()
    reports = []
    for name, column in (("other", values), ("bool", pa.nulls(N, pa.bool_()))):
        write_shards(tmp_path / name, table, "sensitive.gender.woman", column, first)
        balance(tmp_path / name, tmp_path / f"out {name}", BalanceOptions())
        report = json.loads((tmp_path / f"out {name}" / "report.json").read_text())
        reports.append({k: v for k, v in report.items() if k not in ("seconds", "peak_memory_mb")})
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("target.nurse", pa.nulls(N), "values are null"),
        ("target.nurse", pa.array([1.0, float("nan")] * (N // 2)), "values are null"),
        ("target.nurse", pa.array([0.0, 0.5] * (N // 2)), "0.5 is neither"),
        ("target.nurse", pa.array([0.0, float("inf")] * (N // 2)), "inf is neither"),
        ("sensitive.gender.woman", pa.array([0, -1] * (N // 2)), "-1 is neither"),
        ("sensitive.gender.woman", pa.array(["yes", "perhaps"] * (N // 2)), "'perhaps' is neither"),
        ("sensitive.gender.woman", pa.array(["yes", ""] * (N // 2)).dictionary_encode(), "'' is neither"),
        ("sensitive.gender.woman", pa.array([b"1", b"0"] * (N // 2)), "type is binary"),
    ],
)
def test_values_that_are_not_flags_name_their_file_and_column(column, values, message, tmp_path):
    write_shards(tmp_path / "labels", labels_table(), column, values)
    for command in (lambda: balance(tmp_path / "labels", tmp_path / "out", BalanceOptions()),
                    lambda: audit(tmp_path / "labels")):  # fmt: skip
        with pytest.raises(InputError, match=message) as error:
            command()
        assert error.value.where == f"{tmp_path / 'labels' / '1.parquet'}, column {column}"
    assert not (tmp_path / "out").exists()


def test_keys_of_a_later_file_are_checked_too(tmp_path):
    write_shards(tmp_path / "labels", labels_table(), "key", pa.array(np.arange(N) / 2))
    with pytest.raises(InputError, match=r"1\.parquet, column key: type is double"):
        balance(tmp_path / "labels", tmp_path / "out", BalanceOptions())


def test_bool_flags_are_passed_on_as_they_are():
    flags = pa.array([True, False, None])
    assert as_flags(flags, "here", nullable=True) is flags


def test_gathering_refuses_files_that_are_not_weights(tmp_path):
    table = labels_table()
    pq.write_table(table, tmp_path / "labels.parquet")
    count_part(tmp_path / "labels.parquet", tmp_path / "cells.parquet", BalanceOptions())
    add_counts([tmp_path / "cells.parquet"], tmp_path / "counts")
    solve_cells(tmp_path / "counts", tmp_path / "plan", BalanceOptions())
    for weights, message in (
        ({"weight": [0.5] * N, "copies": [1.5] * N}, "1.5 is not a whole number"),
        ({"weight": [-0.5] * N, "copies": [1] * N}, "-0.5 is not a number from 0"),
        ({"weight": [0.5] * N}, "column copies is missing"),
        ({"weight": [0.5] * N, "copies": [1] * (N - 1) + [10**12]}, "1000000000000 is not a whole number from 0 to"),
        ({"weight": [0.5] * N, "copies": [1] * (N - 1) + [2**62]}, "4611686018427387904 is not a whole number"),
        ({"weight": [0.5] * (N - 1) + [1e308], "copies": [1] * N}, "1e.308 is not a number from 0 to"),
    ):
        pq.write_table(pa.table({"key": table["key"], **weights}), tmp_path / "weights.parquet")
        with pytest.raises(InputError, match=message):
            gather_weights([tmp_path / "weights.parquet"], tmp_path / "plan", tmp_path / "out")


def test_a_table_without_a_manifest_gets_a_note(tmp_path):
    path = tmp_path / "photos.csv"
    path.write_text("key,sensitive.g.x,target.t\na,1,0\nb,0,1\n")
    (note,) = Source(path).notes
    assert note == (
        f"no manifest records {path}: its values were checked, but not whether it has changed since it was written"
    )
    Manifest("label", {}, {}).write(path.with_suffix(".json"), [path])
    assert Source(path).notes == []
    path.write_text(path.read_text().replace("b,0,1", "b,1,0"))
    with pytest.raises(InputError, match=r"photos.csv: it has changed"):
        Source(path)
