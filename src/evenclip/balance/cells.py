"""Count the unique cells of a labels table: rows that share groups, labels, proxies and utility bin.

Rows of one cell get one weight, so everything after counting is independent of the number of rows. A row becomes a
code of a few bytes (one bit per boolean column and per null, then the utility's bin); codes are counted batch by
batch, in memory O(cells). Counts are integers, so counts of shards add up to exactly the counts of the whole.

Reads labels.parquet; writes and reads cells.parquet (a labels table without keys, with `count` and `utility_sum`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.balance.columns import Columns
from evenclip.balance.source import BATCH_ROWS, Source, ahead
from evenclip.errors import InputError

UTILITY_BITS = 24  # resolution of utilities: 2**-24, that of float32 near 1
UTILITY_ONE = 1 << UTILITY_BITS


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

    def known(self, column: str) -> np.ndarray:
        """Shape (n_cells,) bool: the sensitive column is not null."""
        return self._bit(len(self.columns.boolean) + self.columns.sensitive.index(column))

    @property
    def utility(self) -> np.ndarray:
        """Shape (n_cells,): mean utility of each cell's rows."""
        return self.utility_sum / (self.count * float(UTILITY_ONE))

    def table(self) -> pa.Table:
        """The cells as a labels table without keys, with `count` and `utility_sum`: what `count_cells` adds up."""
        data: dict[str, pa.Array] = {}
        for column in self.columns.boolean:
            unknown = ~self.known(column) if column in self.columns.sensitive else None
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
        index = pc.index_in(codes, value_set=self.codes)
        if index.null_count:
            raise KeyError("rows that were not counted")
        return index.to_numpy(zero_copy_only=False)


class RowCoder:
    """Turns rows into codes; the same columns and bits give the same codes everywhere."""

    def __init__(self, columns: Columns, utility_bits: int):
        self.columns, self.utility_bits = columns, utility_bits
        self._n_bits = len(columns.boolean) + len(columns.sensitive)
        self._flag_bytes = -(-self._n_bits // 8)
        used = self._flag_bytes + (UTILITY_BITS // 8 if columns.utility else 0)
        self.width = max(8, used)

    def encode(self, batch: pa.RecordBatch, where: str) -> tuple[pa.Array, np.ndarray | None]:
        """Codes of the rows, and their utilities as integers (None without a utility column)."""
        n = len(batch)
        columns = [batch.column(name) for name in self.columns.boolean]
        sensitive = columns[: len(self.columns.sensitive)]
        known = [_validity_bits(column) for column in sensitive]
        values = [_value_bits(column) for column in columns]
        values[: len(known)] = [bits & mask for bits, mask in zip(values, known, strict=False)]
        for name, column in zip(self.columns.boolean[len(sensitive) :], columns[len(sensitive) :], strict=True):
            if column.null_count:
                raise InputError(
                    f"{column.null_count} values are null", f"{where}, column {name}", "write false, or drop the rows"
                )
        code = np.zeros((-(-n // 8) * 8, self.width), np.uint8)
        planes = values + known
        for byte in range(self._flag_bytes):
            code[:, byte] = _transpose_bits(planes[8 * byte : 8 * byte + 8])
        code = code[:n]
        utility = self._utility(batch, where) if self.columns.utility else None
        if utility is not None:
            binned = np.minimum(utility, UTILITY_ONE - 1) >> (UTILITY_BITS - self.utility_bits)
            for byte in range(UTILITY_BITS // 8):
                code[:, self._flag_bytes + byte] = binned >> (8 * byte) & 255
        kind = pa.uint64() if self.width == 8 else pa.binary(self.width)
        return pa.Array.from_buffers(kind, n, [None, pa.py_buffer(code)]), utility

    def _utility(self, batch: pa.RecordBatch, where: str) -> np.ndarray:
        column = batch.column("utility")
        values = pc.fill_null(column, 1.0).to_numpy(zero_copy_only=False).astype(float)
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"utility {values[row]} is not in [0, 1]",
                f"{where}, column utility",
                "rescale it, or leave it null (= 1)",
            )
        return np.rint(values * UTILITY_ONE).astype(np.int64)


class CellCounter:
    """Adds up counts batch by batch; memory is O(cells)."""

    def __init__(self, columns: Columns, utility_bits: int):
        self.coder = RowCoder(columns, utility_bits)
        self._parts: list[pa.Table] = []
        self._merged_rows = 0

    def count(self, batch: pa.RecordBatch, where: str) -> pa.Table:
        """Cells of a batch of rows, or of counted cells if it has a column `count`; for `add`."""
        codes, utility = self.coder.encode(batch, where)
        counted = "count" in batch.schema.names
        count = batch.column("count").cast(pa.int64()) if counted else pa.array(np.ones(len(batch), np.int64))
        if counted and self.coder.columns.utility:
            total = batch.column("utility_sum")
        else:
            total = pa.array(utility if utility is not None else np.zeros(len(batch), np.int64))
        return _add_up(pa.table({"code": codes, "count": count, "utility_sum": total}))

    def add(self, part: pa.Table) -> None:
        """Add what `count` returned."""
        self._parts.append(part)
        if sum(len(part) for part in self._parts) > 2 * self._merged_rows + BATCH_ROWS:
            self._merge()

    def _merge(self) -> None:
        self._parts = [_add_up(pa.concat_tables(self._parts))]
        self._merged_rows = len(self._parts[0])

    def cells(self) -> Cells:
        """The cells counted so far."""
        self._merge()
        table = self._parts[0].sort_by("code").combine_chunks()
        code, count, total = (_single(table.column(name)) for name in ("code", "count", "utility_sum"))
        count, total = count.to_numpy(), total.to_numpy()
        if not self.coder.columns.utility:
            total = count * UTILITY_ONE
        return Cells(self.coder.columns, self.coder.utility_bits, code, count, total)


def count_cells(source: Source, utility_bits: int) -> Cells:
    """Count the cells of a labels table, or add up those of cells files."""
    columns = Columns.of(source.schema, source.name)
    counter = CellCounter(columns, utility_bits)
    extra = [name for name in ("count", "utility_sum") if name in source.schema.names]
    for part in ahead(lambda batch: counter.count(batch, source.name), source.batches([*columns.all, *extra])):
        counter.add(part)
    return counter.cells()


def _add_up(table: pa.Table) -> pa.Table:
    summed = table.group_by("code").aggregate([("count", "sum"), ("utility_sum", "sum")])
    return summed.select(["code", "count_sum", "utility_sum_sum"]).rename_columns(["code", "count", "utility_sum"])


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _bits(buffer: pa.Buffer, offset: int, n: int) -> np.ndarray:
    """Bit-packed bytes that start at bit ``offset``; bits after the n-th are arbitrary."""
    packed = np.frombuffer(buffer, np.uint8)
    if offset % 8 == 0:
        return packed[offset // 8 : offset // 8 + -(-n // 8)]
    return np.packbits(np.unpackbits(packed, bitorder="little")[offset : offset + n], bitorder="little")


def _value_bits(column: pa.Array) -> np.ndarray:
    return _bits(column.buffers()[1], column.offset, len(column))


def _validity_bits(column: pa.Array) -> np.ndarray:
    if column.null_count == 0:
        return np.full(-(-len(column) // 8), 255, np.uint8)
    return _bits(column.buffers()[0], column.offset, len(column))


def _transpose_bits(planes: list[np.ndarray]) -> np.ndarray:
    """Bit j of byte i of the result is bit i of plane j: up to 8 bit-packed columns become one byte per row."""
    block = np.zeros((len(planes[0]), 8), np.uint8)
    for j, plane in enumerate(planes):
        block[:, j] = plane
    x = block.view("<u8").ravel()
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        swap = (x ^ (x >> np.uint64(shift))) & np.uint64(mask)
        x ^= swap ^ (swap << np.uint64(shift))
    return x.view(np.uint8)
