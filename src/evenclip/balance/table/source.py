"""Labels tables, wherever they are: Parquet files read in batches, CSV and TSV files, or tables in memory."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evenclip.balance.table.delimited import is_delimited, read_delimited
from evenclip.balance.table.form import TableForm, WideColumns, check_names
from evenclip.digests import check_output, recorded_output
from evenclip.errors import InputError
from evenclip.label_columns import LabelColumn
from evenclip.tables import PARQUET_ERRORS, as_flags, check_key_type, open_parquet, unreadable_parquet
from evenclip.threads import map_in_order

READ_ROWS = 1 << 20  # decoded at once
BATCH_ROWS = 1 << 16  # processed at once: they fit in the processor's cache, and an index into a batch in 16 bits
LONG_ROWS = 20_000_000  # from here on, reading takes long enough to show its progress
WORKERS = min(4, os.cpu_count() or 1)
# 16 batches decoded but not yet used, so that threads have work while a million rows are decoded
ahead = partial(map_in_order, workers=WORKERS, ahead=16)


class Source:
    """The rows of a labels table, in a fixed order, readable any number of times.

    Each file is cast by its own types and values: labels to bool, utilities to floats; see `evenclip.tables.as_flags`.

    Parameters
    ----------
    table : path, sequence of paths, or pyarrow, pandas or polars table
        Paths are of Parquet, CSV or TSV files, or of folders of them.
    form : TableForm, optional
        Columns of keys, groups and labels, for a table that does not name them as a labels table does; rows without a
        column of keys are then named by their number. Default: a labels table.

    Raises
    ------
    InputError
        If a file is missing, empty or not readable, if files have different columns, or if a column is misspelt.
    """

    def __init__(self, table: Any, form: TableForm | None = None):
        if isinstance(table, Source):
            self.__dict__.update(table.__dict__)
            return
        self._form, self._wide = form, None
        if isinstance(table, str | os.PathLike):
            table = [table]
        if isinstance(table, Sequence):
            self.paths = [file for path in table for file in _files(Path(path))]
            self.name = str(self.paths[0]) if len(self.paths) == 1 else f"{len(self.paths)} files"
            if not self.paths:
                raise InputError("no table found", str(table), "name a file or a folder with *.parquet, *.csv or *.tsv")
            text_columns = (form or TableForm()).text_columns
            delimited = [path for path in self.paths if is_delimited(path)]
            for path in delimited:  # Parquet files are compared when they are opened
                check_output(path)
            self._tables = {path: read_delimited(path, text_columns) for path in delimited}
            self.schema = self._common_schema()
        else:
            self.paths, self.name = [], "the table"
            self._table = as_table(table)
            self.schema, self.n_rows = self._table.schema, len(self._table)
            self._schemas = {self.name: self.schema}
            if not self.n_rows:
                raise InputError("the table has no rows", self.name, "label some pairs first")
        check_names(self.schema.names, self.name)
        if form is not None:
            self._make_wide(form)

    def _make_wide(self, form: TableForm) -> None:
        """Present the table as the labels table that ``form`` describes."""
        wide = WideColumns(self.schema, form, self._column, self.name)
        batch = wide.convert(next(self._raw(wide.sources(wide.names)))[0], wide.names, self.name, 0)
        self._wide, self.schema, self._schemas = wide, batch.schema, {self.name: batch.schema}

    def _column(self, name: str) -> Iterator[pa.Array]:
        return (batch.column(name) for batch, _ in self._raw([name]))

    def _common_schema(self) -> pa.Schema:
        n_rows = {}
        self._schemas = {}
        for path in self.paths:  # one open at a time: there may be more than the system allows
            file = self._open(path)
            if isinstance(file, pa.Table):
                n_rows[path], self._schemas[str(path)] = file.num_rows, file.schema
            else:
                with file:
                    n_rows[path], self._schemas[str(path)] = file.metadata.num_rows, file.schema_arrow
        self.n_rows = sum(n_rows[path] for path in self.paths)  # a file that is named twice counts twice
        if not self.n_rows:
            raise InputError("the table has no rows", self.name, "label some pairs first")
        first = self._schemas[str(self.paths[0])]
        for path, schema in self._schemas.items():
            if set(schema.names) != set(first.names):
                odd = ", ".join(sorted(set(schema.names) ^ set(first.names)))
                raise InputError(f"its columns differ from those of {self.paths[0]}: {odd}", path, "align them")
        return first

    def require_key(self) -> None:
        """Raise `InputError` if there is no column `key`, or if it holds neither strings nor integers."""
        if "key" not in self.schema.names:
            raise InputError("column key is missing", self.name, "give every row a unique string `key`")
        for where, schema in self._schemas.items():
            check_key_type(schema.field("key").type, where)

    @property
    def notes(self) -> list[str]:
        """Remarks for the user on how the table is read."""
        notes = []
        if self._wide is not None and self._wide.numbered:
            notes.append(f"{self.name} has no column key: rows are named by their number, from 0")
        unrecorded = [path for path in self.paths if recorded_output(path) is None]
        if unrecorded:
            which = self.name if len(unrecorded) == len(self.paths) else str(unrecorded[0])
            what = "its values were checked, but not whether it has changed since it was written"
            notes.append(f"no manifest records {which}: {what}")
        return notes

    def batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Batches of `BATCH_ROWS` rows (the last of each file is shorter), with the same boundaries for all columns.

        Long reads show their progress; `InputError` if a file is damaged.
        """
        batches = self._batches(list(columns))
        if self.n_rows < LONG_ROWS:
            return batches
        from evenclip.progress import track

        return track(batches, f"read {self.name}", -(-self.n_rows // BATCH_ROWS))

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self._wide is None:
            for batch, where in self._raw(columns):
                yield _cast(batch, where)
            return
        row = 0
        for batch, where in self._raw(self._wide.sources(columns)):
            yield _cast(self._wide.convert(batch, columns, where, row), where)
            row += len(batch)

    def _raw(self, columns: list[str]) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Batches of the table's own columns, each with the name of its file."""
        if not self.paths:
            for batch in _cut(self._table.select(columns).to_batches()):
                yield batch, self.name
            return
        for path in self.paths:
            try:
                file = self._open(path)
                if isinstance(file, pa.Table):
                    batches = file.select(columns).to_batches()
                else:
                    batches = file.iter_batches(READ_ROWS, columns=columns)
                for batch in _cut(batches):
                    batch.validate(full=True)  # otherwise bytes that are not text would be noticed much later
                    yield batch, str(path)
            except PARQUET_ERRORS as error:
                raise unreadable_parquet(error, path) from None

    def _open(self, path: Path) -> pq.ParquetFile | pa.Table:
        return self._tables[path] if path in self._tables else open_parquet(path)


def _cast(batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
    """The batch with labels as bool and utilities as floats; the same object if they already are."""
    columns = batch.columns
    arrays = list(columns)
    for i, name in enumerate(batch.schema.names):
        location = f"{where}, column {name}"
        if name == "utility":
            arrays[i] = _as_utilities(arrays[i], location)
        elif (column := LabelColumn.parse(name)) is not None:
            arrays[i] = as_flags(arrays[i], location, column.role == "sensitive")
    if all(new is old for new, old in zip(arrays, columns, strict=True)):
        return batch
    return pa.record_batch(arrays, names=batch.schema.names)


def _as_utilities(values: pa.Array, where: str) -> pa.Array:
    kind = values.type
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return values
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return pc.cast(values, pa.float64())
    raise InputError(f"utility has type {kind}", where, "write floats in [0, 1]")


def as_table(table: Any) -> pa.Table:
    """Convert a pandas or polars table, or what else pyarrow accepts, to a pyarrow table; `InputError` otherwise."""
    if isinstance(table, pa.Table):
        return table
    try:
        return pa.table(table)
    except (ValueError, pa.ArrowException) as error:
        problem = "; ".join(map(str, error.args))
        raise InputError(f"it cannot be read ({problem})", "the table", "give each column one name and type") from None
    except TypeError:
        raise InputError(
            f"{type(table).__name__} is not a table", "the table", "give a path, or a pyarrow, pandas or polars table"
        ) from None


def _cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `BATCH_ROWS` (the last one is shorter), whatever batches the reader yields."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= BATCH_ROWS:
            joined = _join(held)
            whole = len(joined) - len(joined) % BATCH_ROWS
            yield from (joined.slice(start, BATCH_ROWS) for start in range(0, whole, BATCH_ROWS))
            held = [joined.slice(whole)] if whole < len(joined) else []
    if held:
        yield _join(held)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    parquet = sorted(path.glob("*.parquet"))
    delimited = [file for file in sorted(path.iterdir()) if is_delimited(file)]
    if parquet and delimited:
        what = f"it has Parquet files and {delimited[0].name}"
        raise InputError(what, str(path), "name the files, so that no row counts twice")
    return parquet or delimited
