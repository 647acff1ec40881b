"""Fuzz the readers of label and weights tables. `python tests/fuzz/tables.py --seconds 300`.

Values of any type are cast by value, as Python itself reads them, or refused; a damaged file is refused, or read as
pandas reads it; one that a manifest records is refused unless it is the very file.
"""

import io
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from evenclip.balance import BalanceOptions, balance
from evenclip.balance.table.source import Source
from evenclip.digests import describe_files, with_digest
from evenclip.errors import InputError
from evenclip.tables import check_weights, read_labels, read_table
from support.fuzzing import damaged, main

N = 8
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
VALUES = {
    pa.bool_(): st.booleans(),
    pa.int64(): st.sampled_from([0, 1, 0, 1, 2, -1]),
    pa.uint8(): st.sampled_from([0, 1, 1, 255]),
    pa.float64(): st.sampled_from([0.0, 1.0, 1.0, 0.5, math.nan]),
    pa.float32(): st.sampled_from([0.0, 1.0, -0.0, math.inf]),
    pa.float16(): st.sampled_from([0.0, 1.0]).map(np.float16),
    pa.string(): st.sampled_from(["true", "No", "YES", "0", "1", "", "t", "False"]),
    pa.large_string(): st.sampled_from(["true", "false"]),
    pa.string_view(): st.sampled_from(["true", "false", "maybe"]),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["yes", "no", "?"]),
    pa.binary(): st.sampled_from([b"true", b"false"]),
    pa.decimal128(5, 1): st.sampled_from([0, 1]),
    pa.null(): st.none(),
}
KINDS = list(VALUES)


def _column(data: st.DataObject) -> pa.Array:
    kind = data.draw(st.sampled_from(KINDS))
    own = VALUES[kind] if data.draw(st.booleans()) else st.one_of(VALUES[kind], st.none())
    values = data.draw(st.lists(own, min_size=N, max_size=N))
    if data.draw(st.booleans()) and kind != pa.null():  # mostly plain ones, so that some columns are accepted
        plain = {pa.bool_(): [False, True], pa.string(): ["no", "yes"], pa.binary(): [b"no", b"yes"]}.get(kind, [0, 1])
        if pa.types.is_dictionary(kind) or kind in (pa.large_string(), pa.string_view()):
            plain = ["no", "yes"]
        if kind == pa.float16():
            plain = [np.float16(0), np.float16(1)]
        values = [plain[i % 2] for i in range(N)]
    return pa.array(values, kind)


def _truth(value: Any) -> bool | None:
    """What a value says by Python's own rules; ValueError where it says nothing."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if value.lower() not in TRUTH:
            raise ValueError(value)
        return TRUTH[value.lower()]
    if isinstance(value, bool):
        return value
    if value not in (0, 1) or isinstance(value, bytes):
        raise ValueError(value)
    return bool(value == 1)


def labels_are_cast_by_value(data: st.DataObject) -> str:
    columns = {"key": pa.array([f"k{i}" for i in range(N)]), "sensitive.g.a": _column(data), "target.t": _column(data)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        pq.write_table(pa.table(columns), path)
        try:
            labels = read_labels(path)
            batches = pa.Table.from_batches(list(Source(path).batches(list(columns))))
        except InputError:
            return "refused"
    for name in ("sensitive.g.a", "target.t"):
        expected = [_truth(value) for value in columns[name].to_pylist()]
        assert labels[name].to_pylist() == expected, (columns[name].type, expected)
        assert batches[name].to_pylist() == expected
    return "equal"


def weights_are_cast_by_value(data: st.DataObject) -> str:
    number = st.sampled_from([0, 1, 2, 0.5, 1e9, -1, math.nan, math.inf, 3])
    kind = data.draw(st.sampled_from([pa.float32(), pa.float64(), pa.int64(), pa.uint8(), pa.string()]))
    values = data.draw(st.lists(number, min_size=N, max_size=N))
    if pa.types.is_integer(kind):
        values = [int(v) if math.isfinite(v) and 0 <= v < 200 else 1 for v in values]
    copies = data.draw(st.lists(st.sampled_from([0, 1, 2, 1.5, -1]), min_size=N, max_size=N))
    if data.draw(st.booleans()):
        values, copies = [abs(v) if math.isfinite(v) else 1 for v in values], [1] * N
    table = pa.table({
        "key": [f"k{i}" for i in range(N)],
        "weight": pa.array([str(v) for v in values] if kind == pa.string() else values, kind),
        "copies": pa.array(copies, pa.float64()),
    })  # fmt: skip
    try:
        checked = check_weights(table, "weights")
    except InputError:
        return "refused"
    assert checked["weight"].to_pylist() == [float(v) for v in table["weight"].to_pylist()]
    assert checked["copies"].to_pylist() == copies
    assert all(math.isfinite(v) and v >= 0 for v in checked["weight"].to_pylist())
    return "equal"


def _labels() -> pa.Table:
    rng = np.random.default_rng(0)
    woman = rng.random(200) < 0.4
    return pa.table({"key": [f"k{i:03d}" for i in range(200)], "sensitive.g.woman": woman, "sensitive.g.man": ~woman,
                     "target.nurse": rng.random(200) < 0.3})  # fmt: skip


def _bytes(table: pa.Table, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **settings)
    return buffer.getvalue()


CONTENT = _bytes(_labels())
CHECKED = _bytes(_labels(), write_page_checksum=True)


def _labels_of(content: bytes) -> pa.Table | None:
    """The labels in the bytes of a file; None where they are refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        path.write_bytes(content)
        try:
            return read_labels(path)
        except InputError:
            return None


def damaged_files_are_refused_or_read_as_pandas_does(data: st.DataObject) -> str:
    """Somebody's file, without checksums: what is still valid Parquet says what it says."""
    content = damaged(data, CONTENT)
    labels = _labels_of(content)
    if labels is None:
        return "refused"
    other = pd.read_parquet(io.BytesIO(content))
    assert len(labels) == len(other)
    for name in labels.column_names:
        expected = [None if pd.isna(value) else value for value in other[name]]
        read = labels[name].to_pylist()
        assert read == ([str(v) for v in expected] if name == "key" else [_truth(v) for v in expected]), name
    return "equal"


def page_checksums_keep_the_values(data: st.DataObject) -> str:
    """A damaged file with page checksums gives the same flags as the whole one, in columns of the same name."""
    content = damaged(data, CHECKED)
    labels = _labels_of(content)
    if labels is None:
        return "refused"
    if labels.equals(read_table_of(CHECKED)):
        return "equal"
    return "other, as its footer says"


def read_table_of(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content))


def recorded_files_are_refused_unless_whole(data: st.DataObject) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        path.write_bytes(CHECKED)
        manifest = with_digest({"stage": "label", "inputs": {}, "outputs": describe_files([path], path.parent)})
        path.with_suffix(".json").write_text(json.dumps(manifest))
        content = damaged(data, CHECKED)
        path.write_bytes(content)
        try:
            read_table(path)
        except InputError:
            return "refused"
        assert content == CHECKED
        return "equal"


def balancing_never_ends_in_a_traceback(data: st.DataObject) -> str:
    columns = {"key": pa.array([f"k{i}" for i in range(N)])}
    columns |= {name: _column(data) for name in ("sensitive.g.a", "sensitive.g.b", "target.t")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        pq.write_table(pa.table(columns), path)
        try:
            balance(path, Path(folder) / "out", BalanceOptions())
        except InputError:
            return "refused"
    return "equal"


PROPERTIES = [
    labels_are_cast_by_value, weights_are_cast_by_value, damaged_files_are_refused_or_read_as_pandas_does,
    page_checksums_keep_the_values, recorded_files_are_refused_unless_whole, balancing_never_ends_in_a_traceback,
]  # fmt: skip

if __name__ == "__main__":
    main(PROPERTIES)
