"""Rows of a labels table as codes of a few bytes: one bit per boolean column and per null, then the utility's bin.

A labels table has `sensitive.<attribute>.<value>` (bool or null), `target.<label>` and `proxy.<name>` (bool), each
optionally prefixed with `image.` or `text.`, and optionally `utility` (float in [0, 1]); see docs/balance.md.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.errors import InputError
from evenclip.label_columns import ROLES, label_columns


@dataclass(frozen=True)
class Columns:
    """The roles of a labels table's columns, each in sorted order, so that their order in the file is irrelevant.

    Attributes
    ----------
    sensitive, target, proxy : tuple of str
        Column names.
    utility : bool
        Whether the table has a `utility` column.
    """

    sensitive: tuple[str, ...]
    target: tuple[str, ...]
    proxy: tuple[str, ...]
    utility: bool

    @classmethod
    def of(cls, schema: pa.Schema, where: str) -> "Columns":
        """Find the roles in a schema; `InputError` for missing or duplicate columns."""
        if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise InputError(f"column {twice[0]} occurs more than once", where, "give each column its own name")
        for role, example, option in (
            ("sensitive", "sensitive.gender.woman", "a column of group names with --attribute"),
            ("target", "target.nurse", "a column of labels with --label"),
        ):
            if not label_columns(schema.names, role):
                instead = f"call columns of true and false like {example}, or give {option}"
                raise InputError(f"no column {role}.*", where, instead)
        for column in label_columns(schema.names, "sensitive"):
            if column.name.count(".") != 1:
                where = f"{where}, column {column.column}"
                raise InputError("an attribute needs a value", where, "name it sensitive.<attribute>.<value>")
        roles = (sorted(column.column for column in label_columns(schema.names, role)) for role in ROLES)
        return cls(*map(tuple, roles), "utility" in schema.names)

    @property
    def boolean(self) -> tuple[str, ...]:
        """All boolean columns, in the order of a cell's bits."""
        return self.sensitive + self.target + self.proxy

    @property
    def all(self) -> tuple[str, ...]:
        """All columns that a cell is made of."""
        return self.boolean + (("utility",) if self.utility else ())


def as_arrow(values: np.ndarray) -> pa.Array:
    """Numbers, shape (n,), as an Arrow array of the same type."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def as_numpy(array: pa.Array) -> np.ndarray:
    """Numbers without nulls as a read-only array, shape (n,), of the same type."""
    return np.from_dlpack(array)


UTILITY_BITS = 24  # resolution of utilities: 2**-24, that of float32 near 1
UTILITY_ONE = 1 << UTILITY_BITS


class RowCoder:
    """Encoder of rows; the same columns and bits always give the same codes."""

    def __init__(self, columns: Columns, utility_bits: int):
        self.columns, self.utility_bits = columns, utility_bits
        self._n_bits = len(columns.boolean) + len(columns.sensitive)
        self._flag_bytes = -(-self._n_bits // 8)
        used = self._flag_bytes + (UTILITY_BITS // 8 if columns.utility else 0)
        self.width = max(8, used)

    def encode(self, batch: pa.RecordBatch, where: str, first_row: int = 0) -> tuple[pa.Array, np.ndarray | None]:
        """Codes of the rows, and their utilities as integers (None without a utility column).

        ``first_row`` is the number of the batch's first row in the table, for errors.
        """
        n = len(batch)
        columns = [batch.column(name) for name in self.columns.boolean]
        sensitive = columns[: len(self.columns.sensitive)]
        valid = [_validity_bits(column) for column in sensitive]
        values = [_value_bits(column) for column in columns]
        values[: len(valid)] = [bits & mask for bits, mask in zip(values, valid, strict=False)]
        code = np.zeros((-(-n // 8) * 8, self.width), np.uint8)
        planes = values + valid
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
    """Bit-packed bytes from bit ``offset`` on; bits after the n-th are arbitrary."""
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


IN_MEMORY = 512 << 20


@dataclass(frozen=True)
class CodedBatch:
    """Rows of a batch as indices into the batch's distinct codes.

    Attributes
    ----------
    codes : pyarrow.Array, shape (n_codes,)
        Distinct; see `RowCoder`.
    index : numpy.ndarray, shape (n_rows,), uint16
        Index of each row's code in ``codes``.
    """

    codes: pa.Array
    index: np.ndarray

    @classmethod
    def of(cls, codes: pa.Array) -> Self:
        """A batch of at most 2**16 rows with the given codes."""
        encoded = codes.dictionary_encode()
        return cls(encoded.dictionary, as_numpy(encoded.indices).astype(np.uint16))

    def total(self, value: np.ndarray | None = None) -> np.ndarray:
        """Shape (n_codes,) int64: rows of each code, or the sum of their values (integers; exact below 2**53)."""
        return np.bincount(self.index, value, len(self.codes)).astype(np.int64)


class CodedRows:
    """Coded batches in order, in memory or a temporary file; a context manager that deletes them at its end."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._kinds: list[pa.DataType] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, batch: CodedBatch) -> None:
        """Keep a batch."""
        codes = batch.codes
        width = codes.type.bit_width // 8
        data = np.frombuffer(codes.buffers()[1], np.uint8)[codes.offset * width :][: len(codes) * width]
        for array in (data, batch.index):
            np.save(self._file, array)
        self._kinds.append(codes.type)

    def __iter__(self) -> Iterator[CodedBatch]:
        self._file.seek(0)
        for kind in self._kinds:
            data, index = np.load(self._file), np.load(self._file)
            n_codes = len(data) // (kind.bit_width // 8)
            yield CodedBatch(pa.Array.from_buffers(kind, n_codes, [None, pa.py_buffer(data)]), index)
