"""The tables that stages hand to each other: names, types, and the checks made when one is read.

`architecture.md` section 4 is the contract. All tables are Parquet, read and written through pyarrow.
"""

import io
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evenclip.digests import check_output, fingerprint
from evenclip.errors import InputError
from evenclip.label_columns import label_columns

PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError)
"""What pyarrow raises on damaged files."""

MOST_COPIES = 1_000_000
"""The largest weight and number of copies that is believed; `evenclip balance` writes 255 copies at most."""

WEIGHTS_SCHEMA = pa.schema([("key", pa.string()), ("weight", pa.float32()), ("copies", pa.uint8())])

QUARANTINE_SCHEMA = pa.schema([("name", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@dataclass(frozen=True)
class MetricRow:
    """One measured value; a metric's name follows architecture.md section 4 (flat, no '@').

    ``n`` is the number of examples behind ``value``; ``group`` names the subgroup it is for, '' for all;
    ``random`` is what a model that knows nothing scores, None where that has no meaning; ``people`` says whether the
    metric is about people.
    """

    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    group: str = ""
    random: float | None = None
    people: bool = False

    def as_dict(self) -> dict:
        """The row for JSON: no NaN, which JSON has no word for."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def read_table(path: str | os.PathLike, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file; `InputError` if it is missing, damaged, not the one recorded, or lacks a column."""
    file = open_parquet(path)
    missing = [c for c in columns or [] if c not in file.schema_arrow.names]
    if missing:
        have = ", ".join(file.schema_arrow.names)
        raise InputError(f"column {', '.join(missing)} is missing", str(path), f"the file has: {have}")
    try:
        table = file.read(columns=columns)
        table.validate(full=True)  # else bytes that are no text are found much later
        return table
    except PARQUET_ERRORS as error:
        raise unreadable_parquet(error, path) from None


def open_parquet(path: str | os.PathLike, content: bytes | None = None) -> pq.ParquetFile:
    """A Parquet file, whose pages are compared with their checksums as they are read.

    Parameters
    ----------
    path : path
        Where the file is; `evenclip.digests.check_output` looks at it first.
    content : bytes, optional
        What is in the file, if it was read already.

    Raises
    ------
    InputError
        It is missing, not Parquet, has two columns of one name, or is not the file recorded in the manifest beside it.
    """
    try:
        if content is None:
            check_output(path)
        file = pq.ParquetFile(path if content is None else io.BytesIO(content), page_checksum_verification=True)
        names = file.schema_arrow.names
    except FileNotFoundError:
        raise InputError("no such file", str(path), "check the path") from None
    except PARQUET_ERRORS as error:
        raise unreadable_parquet(error, path) from None
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two columns are called '{name}'", str(path), "give each column one name")
    return file


def unreadable_parquet(error: Exception, path: str | os.PathLike) -> InputError:
    """The message for an error of pyarrow's reader."""
    return InputError(
        f"not a readable Parquet file ({error})", str(path), "write it again; docs/balance.md makes one of a CSV file"
    )


def parquet_writer(path: str | os.PathLike, schema: pa.Schema, **settings: Any) -> pq.ParquetWriter:
    """A writer of Parquet that stores a checksum with every page."""
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True, **settings)


def as_flags(values: pa.Array | pa.ChunkedArray, where: str, nullable: bool = False) -> pa.Array | pa.ChunkedArray:
    """Labels as bool, cast by value.

    Parameters
    ----------
    values : pyarrow.Array or ChunkedArray
        bool; numbers that are 0 or 1; strings that are true, false, yes, no, 1 or 0 in any case; dictionaries of these.
        NaN is read as null.
    where : str
        File and column, for errors.
    nullable : bool
        Whether null (not known) is allowed.

    Raises
    ------
    InputError
        For another value, which it names, another type, or a null that is not allowed.
    """
    flags = values if pa.types.is_boolean(values.type) else _cast_flags(values, where)
    if flags.null_count and not nullable:
        raise InputError(f"{flags.null_count} values are null", where, "write false, or drop the rows")
    return flags


def _cast_flags(values: pa.Array | pa.ChunkedArray, where: str) -> pa.Array | pa.ChunkedArray:
    values = _plain(values)
    kind = values.type
    if pa.types.is_boolean(kind):
        return values
    if pa.types.is_null(kind):
        return values.cast(pa.bool_())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = _without_nan(values)
        flags, zero = pc.equal(values, 1), pc.equal(values, 0)
        allowed = pc.or_(flags, zero)
    elif _is_text(kind):
        index = pc.index_in(pc.utf8_lower(values), value_set=pa.array([*TRUE, *FALSE], values.type))
        allowed = pc.or_(pc.is_valid(index), pc.is_null(values))
        flags = pc.less(index, len(TRUE))
    else:
        raise InputError(f"type is {kind}, not bool", where, "write true and false")
    if not pc.all(allowed, min_count=0).as_py():
        odd = values.filter(pc.invert(allowed))[0].as_py()
        raise InputError(f"{odd!r} is neither true nor false", where, "write true and false, yes and no, or 1 and 0")
    return flags


TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def as_keys(values: pa.Array | pa.ChunkedArray, where: str) -> pa.Array | pa.ChunkedArray:
    """Keys as strings; `InputError` if they are neither strings nor integers, or one is null."""
    check_key_type(values.type, where)
    if values.null_count:
        raise InputError(f"{values.null_count} keys are null", f"{where}, column key", "give every row a key")
    return values.cast(pa.string())


def check_key_type(kind: pa.DataType, where: str) -> None:
    """Raise `InputError` if the column `key` of this type holds neither strings nor integers."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (_is_text(kind) or pa.types.is_integer(kind)):
        raise InputError(f"type is {kind}, not string", f"{where}, column key", "give every row a unique string `key`")


def as_weights(values: pa.ChunkedArray, where: str, whole: bool = False) -> pa.ChunkedArray:
    """Weights as float64, or ``whole`` numbers of copies as int64, cast by value.

    Raises
    ------
    InputError
        For a type that is no number, and for a value, which it names, that is null, negative, not finite, larger than
        `MOST_COPIES` or, of copies, not whole.
    """
    values = _plain(values)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise InputError(f"type is {values.type}, not a number", where, "write numbers of 0 or more")
    numbers = values.cast(pa.float64(), safe=False)  # integers beyond 2^53 are refused below
    allowed = pc.and_(pc.less_equal(numbers, MOST_COPIES), pc.greater_equal(numbers, 0))  # NaN is neither
    if whole:
        allowed = pc.and_(allowed, pc.equal(numbers, pc.floor(numbers)))
    allowed = pc.fill_null(allowed, False)
    if not pc.all(allowed, min_count=0).as_py():
        odd = values.filter(pc.invert(allowed))[0].as_py()
        wanted = f"a {'whole ' if whole else ''}number from 0 to {MOST_COPIES:,}"
        raise InputError(f"{'null' if odd is None else odd} is not {wanted}", where, "mend it, or balance again")
    return numbers.cast(pa.int64()) if whole else numbers


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Values of dictionaries, of extension types and of half floats in the type that they stand for."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(values.cast(kind.storage_type))
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type))
    if pa.types.is_string_view(kind):
        return values.cast(pa.large_string())
    return values.cast(pa.float32()) if pa.types.is_float16(kind) else values


def _without_nan(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def read_labels(path: str | os.PathLike, columns: Iterable[str] | None = None) -> pa.Table:
    """Keys (string) and label columns (bool; null = not known, in sensitive columns only) of a labels table.

    Parameters
    ----------
    path : path
        A Parquet file; see `as_flags` for the types that are cast.
    columns : iterable of str, optional
        Label columns to read; default: all.

    Raises
    ------
    InputError
        The file cannot be read, a key is missing or occurs twice, or a value is neither true nor false.
    """
    table = read_table(path, None if columns is None else ["key", *columns])
    if "key" not in table.column_names:
        raise InputError("column key is missing", str(path), "give every row a unique string `key`")
    arrays = {"key": as_keys(table.column("key"), str(path))}
    check_unique_keys(arrays["key"], str(path))
    for column in label_columns(table.column_names):
        flags = table.column(column.column)
        arrays[column.column] = as_flags(flags, f"{path}, column {column.column}", column.role == "sensitive")
    return pa.table({name: arrays[name] for name in table.column_names if name in arrays})


def check_weights(table: pa.Table, where: str) -> pa.Table:
    """Weights of rows: `key` (string), `weight` (float64) and, where there are any, `copies` (int64).

    Raises
    ------
    InputError
        A column is missing, a key is missing or occurs twice, or a value is negative, not finite or, of `copies`, not
        whole; all weights or all copies are 0.
    """
    for name in ("key", "weight"):
        if name not in table.column_names:
            raise InputError(f"column {name} is missing", where, "write it with `evenclip balance`")
    arrays = {"key": as_keys(table.column("key"), where)}
    check_unique_keys(arrays["key"], where)
    for name in ("weight", "copies"):
        if name in table.column_names:
            arrays[name] = as_weights(table.column(name), f"{where}, column {name}", whole=name == "copies")
            if not pc.any(pc.greater(arrays[name], 0)).as_py():
                raise InputError("all are 0", f"{where}, column {name}", "balance again: no row would be shown")
    return pa.table(arrays)


def check_unique_keys(keys: pa.ChunkedArray, where: str) -> None:
    """Raise `InputError` naming the first duplicated or missing key."""
    if keys.null_count:
        raise InputError(f"{keys.null_count} keys are null", f"{where}, column key", "give every row a key")
    if pc.count_distinct(keys).as_py() != len(keys):
        counts = keys.value_counts()
        first = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        raise InputError(f"the key '{first}' occurs more than once", f"{where}, column key", "make keys unique")


def digest_of_keys(keys: pa.Array | pa.ChunkedArray) -> str:
    """The `fingerprint` of a set of keys, whatever their order."""
    return fingerprint(sorted(keys.to_pylist()))


def write_table(table: pa.Table, path: str | os.PathLike) -> None:
    """Write Parquet whole or not at all (a temporary file beside it, then a rename)."""
    from evenclip.provenance import atomic_file

    with atomic_file(path) as temporary, parquet_writer(temporary, table.schema) as writer:
        writer.write_table(table)
