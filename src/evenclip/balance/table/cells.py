"""Count the unique cells of a labels table: rows that share groups, labels, proxies and utility bin.

Rows of one cell get one weight, so everything after counting is independent of the number of rows. A row becomes a
code of a few bytes (`coding.RowCoder`); codes are counted batch by batch, in memory O(cells). Counts are integers, so
counts of shards add up to exactly the counts of the whole.

Reads labels.parquet; writes and reads cells.parquet (a labels table without keys, with `count` and `utility_sum`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.balance.table.coding import (
    UTILITY_BITS,
    UTILITY_ONE,
    CodedBatch,
    CodedRows,
    Columns,
    RowCoder,
    as_numpy,
)
from evenclip.balance.table.source import READ_ROWS, Source, ahead


@dataclass(frozen=True)
class Cells:
    """Unique cells, sorted by code.

    Attributes
    ----------
    columns : Columns
    utility_bits : int
        Utilities are distinguished in 2**utility_bits bins.
    codes : pyarrow.Array, length n_cells
        uint64, or fixed-size binary where 8 bytes do not suffice.
    count : numpy.ndarray, shape (n_cells,), int64
        Rows of each cell.
    utility_sum : numpy.ndarray, shape (n_cells,), int64
        Sum of the rows' utilities in units of 2**-24.
    """

    columns: Columns
    utility_bits: int
    codes: pa.Array
    count: np.ndarray
    utility_sum: np.ndarray

    @property
    def n(self) -> int:
        """Number of rows counted."""
        return int(self.count.sum())

    def __len__(self) -> int:
        return len(self.count)

    @cached_property
    def _bytes(self) -> np.ndarray:
        width = self.codes.type.bit_width // 8
        start = self.codes.offset * width
        buffer = np.frombuffer(self.codes.buffers()[1], np.uint8)
        return buffer[start : start + len(self.codes) * width].reshape(len(self.codes), width)

    def _bit(self, position: int) -> np.ndarray:
        return (self._bytes[:, position // 8] >> (position % 8) & 1).astype(bool)

    def value(self, column: str) -> np.ndarray:
        """Shape (n_cells,) bool: the column is true (null counts as false)."""
        return self._bit(self.columns.boolean.index(column))

    def is_known(self, column: str) -> np.ndarray:
        """Shape (n_cells,) bool: the sensitive column is not null."""
        return self._bit(len(self.columns.boolean) + self.columns.sensitive.index(column))

    @property
    def utility(self) -> np.ndarray:
        """Shape (n_cells,): mean utility of each cell's rows."""
        return self.utility_sum / (self.count * float(UTILITY_ONE))

    def table(self) -> pa.Table:
        """The cells as a labels table without keys, with `count` and `utility_sum`, as `add_cells` reads it."""
        data: dict[str, pa.Array] = {}
        for column in self.columns.boolean:
            unknown = ~self.is_known(column) if column in self.columns.sensitive else None
            data[column] = pa.array(self.value(column), mask=unknown)
        if self.columns.utility:
            lowest = self._utility_bin().astype(float) / (1 << self.utility_bits)
            data |= {"utility": pa.array(lowest), "utility_sum": pa.array(self.utility_sum)}
        return pa.table(data | {"count": pa.array(self.count)})

    def _utility_bin(self) -> np.ndarray:
        start = -(-(len(self.columns.boolean) + len(self.columns.sensitive)) // 8)
        used = self._bytes[:, start : start + UTILITY_BITS // 8].astype(np.int64)
        return used @ (1 << np.arange(0, UTILITY_BITS, 8))

    def find(self, codes: pa.Array) -> np.ndarray:
        """Shape (len(codes),) int64: the cell of each code; raises KeyError for a code that was not counted."""
        if pa.types.is_uint64(codes.type):  # codes are sorted: a binary search needs no hash table of all cells
            counted, wanted = as_numpy(self.codes), as_numpy(codes)
            cell = np.minimum(np.searchsorted(counted, wanted), len(counted) - 1)
            missing = bool((counted[cell] != wanted).any())
        else:
            index = pc.index_in(codes, value_set=self.codes)
            missing = index.null_count > 0
            cell = as_numpy(index.fill_null(0)).astype(np.int64)
        if missing:
            raise KeyError("rows that were not counted")
        return cell


class CellCounter:
    """Adds up counts batch by batch; memory is O(cells)."""

    def __init__(self, columns: Columns, utility_bits: int):
        self.columns, self.utility_bits = columns, utility_bits
        self._parts: list[tuple[pa.Array, np.ndarray, np.ndarray]] = []
        self._n_pending = self._n_merged = 0

    def add(self, codes: pa.Array, count: np.ndarray, utility_sum: np.ndarray) -> None:
        """Add ``count`` rows of each code, with utilities that sum to ``utility_sum`` (units of 2**-24)."""
        self._parts.append((codes, count, utility_sum))
        self._n_pending += len(codes)
        if self._n_pending > 2 * self._n_merged + READ_ROWS:
            self._merge()

    def _merge(self) -> None:
        codes, *values = zip(*self._parts, strict=True)
        encoded = pa.concat_arrays(codes).dictionary_encode()
        totals = []
        for parts in values:  # in integers: sums of 2**29 utilities exceed the precision of a float
            total = np.zeros(len(encoded.dictionary), np.int64)
            np.add.at(total, as_numpy(encoded.indices), np.concatenate(parts))
            totals.append(total)
        self._parts = [(encoded.dictionary, *totals)]
        self._n_pending = self._n_merged = len(encoded.dictionary)

    def cells(self) -> Cells:
        """The cells counted so far."""
        self._merge()
        ((codes, count, utility_sum),) = self._parts
        order = pc.array_sort_indices(codes)
        rows = as_numpy(order)
        return Cells(self.columns, self.utility_bits, codes.take(order), count[rows], utility_sum[rows])


def code_rows(source: Source, utility_bits: int) -> Iterator[tuple[CodedBatch, np.ndarray]]:
    """Yield the coded batches of a labels table, each with the sums of its codes' utilities (in units of 2**-24)."""
    coder = RowCoder(Columns.of(source.schema, source.name), utility_bits)

    def code(numbered: tuple[int, pa.RecordBatch]) -> tuple[CodedBatch, np.ndarray]:
        codes, utility = coder.encode(numbered[1], source.name, numbered[0])
        coded = CodedBatch.of(codes)
        return coded, coded.total() * UTILITY_ONE if utility is None else coded.total(utility)

    def numbered() -> Iterator[tuple[int, pa.RecordBatch]]:
        row = 0
        for batch in source.batches(coder.columns.all):
            yield row, batch
            row += len(batch)

    return ahead(code, numbered())


def count_cells(source: Source, utility_bits: int, rows: CodedRows | None = None) -> Cells:
    """Count the cells of a labels table; if ``rows`` is given, its coded batches are appended to it."""
    counter = CellCounter(Columns.of(source.schema, source.name), utility_bits)
    for batch, utility_sum in code_rows(source, utility_bits):
        counter.add(batch.codes, batch.total(), utility_sum)
        if rows is not None:
            rows.append(batch)
    return counter.cells()


def add_cells(source: Source, utility_bits: int) -> Cells:
    """Add up cells files, which are tables made by `Cells.table`."""
    columns = Columns.of(source.schema, source.name)
    coder, counter = RowCoder(columns, utility_bits), CellCounter(columns, utility_bits)
    names = [name for name in ("count", "utility_sum") if name in source.schema.names]
    for batch in source.batches([*columns.all, *names]):
        count = as_numpy(batch.column("count"))
        utility_sum = as_numpy(batch.column("utility_sum")) if columns.utility else count * UTILITY_ONE
        counter.add(coder.encode(batch, source.name)[0], count, utility_sum)
    return counter.cells()
