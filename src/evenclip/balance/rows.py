"""Which cell each row belongs to, kept from counting for writing, so that labels are decoded once.

A batch of rows is kept as its distinct codes and each row's place among them: 2 bytes a row, besides the codes. What
exceeds `IN_MEMORY` bytes goes to a temporary file (in the folder that TMPDIR names).
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from evenclip.balance.arrow import as_numpy

IN_MEMORY = 512 << 20


@dataclass(frozen=True)
class CodedBatch:
    """Rows of a batch as places among the batch's distinct codes.

    Attributes
    ----------
    codes : pyarrow.Array, shape (n_codes,)
        Distinct; see `RowCoder`.
    place : numpy.ndarray, shape (n_rows,), uint16
        Of each row's code in ``codes``.
    """

    codes: pa.Array
    place: np.ndarray

    @classmethod
    def of(cls, codes: pa.Array) -> Self:
        """A batch of at most 2**16 rows with the given codes."""
        encoded = codes.dictionary_encode()
        return cls(encoded.dictionary, as_numpy(encoded.indices).astype(np.uint16))

    def total(self, value: np.ndarray | None = None) -> np.ndarray:
        """Shape (n_codes,) int64: rows of each code, or the sum of their values (integers; exact below 2**53)."""
        return np.bincount(self.place, value, len(self.codes)).astype(np.int64)


class CodedRows:
    """Coded batches in order; a context manager, which forgets them at its end."""

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
        for array in (data, batch.place):
            np.save(self._file, array)
        self._kinds.append(codes.type)

    def __iter__(self) -> Iterator[CodedBatch]:
        self._file.seek(0)
        for kind in self._kinds:
            data, place = np.load(self._file), np.load(self._file)
            n_codes = len(data) // (kind.bit_width // 8)
            yield CodedBatch(pa.Array.from_buffers(kind, n_codes, [None, pa.py_buffer(data)]), place)
