"""Code rows of a labels table: one bit per boolean column and per null, then the utility's bin."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.balance.arrow import as_numpy
from evenclip.balance.columns import Columns
from evenclip.errors import InputError

UTILITY_BITS = 24  # resolution of utilities: 2**-24, that of float32 near 1
UTILITY_ONE = 1 << UTILITY_BITS


class RowCoder:
    """Turns rows into codes; the same columns and bits give the same codes everywhere."""

    def __init__(self, columns: Columns, utility_bits: int):
        self.columns, self.utility_bits = columns, utility_bits
        self._n_bits = len(columns.boolean) + len(columns.sensitive)
        self._flag_bytes = -(-self._n_bits // 8)
        used = self._flag_bytes + (UTILITY_BITS // 8 if columns.utility else 0)
        self.width = max(8, used)

    def encode(self, batch: pa.RecordBatch, where: str, first_row: int = 0) -> tuple[pa.Array, np.ndarray | None]:
        """Codes of the rows, and their utilities as integers (None without a utility column).

        ``first_row`` is where the batch starts in the table, for errors.
        """
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
        utility = self._utility(batch, where, first_row) if self.columns.utility else None
        if utility is not None:
            binned = np.minimum(utility, UTILITY_ONE - 1) >> (UTILITY_BITS - self.utility_bits)
            for byte in range(UTILITY_BITS // 8):
                code[:, self._flag_bytes + byte] = binned >> (8 * byte) & 255
        kind = pa.uint64() if self.width == 8 else pa.binary(self.width)
        return pa.Array.from_buffers(kind, n, [None, pa.py_buffer(code)]), utility

    def _utility(self, batch: pa.RecordBatch, where: str, first_row: int) -> np.ndarray:
        column = batch.column("utility")
        values = as_numpy(pc.fill_null(column, 1.0)).astype(float)
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"utility {values[row]} is not in [0, 1]",
                f"{where}, row {first_row + row} (the first is 0), column utility",
                "rescale it, or leave it null (= 1)",
            )
        return np.rint(values * UTILITY_ONE).astype(np.int64)


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
