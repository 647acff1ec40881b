"""Find duplicate keys in tables that do not fit in memory.

Keys that rise from row to row are distinct, which a comparison of neighbours shows. From the first batch that does not
rise on, keys are hashed: 8 bytes per row, and a second pass only if hashes agree.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.balance.table.source import ahead
from evenclip.errors import InputError

_RANGES = 16  # ranges of hashes that are searched one after the other, which bounds the memory for sorting
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def hash_strings(keys: pa.Array) -> np.ndarray:
    """Shape (n,) uint64: a hash of each string, eight bytes at a time over all strings at once."""
    keys = keys.cast(pa.large_string())
    if len(keys) == 0:
        return np.zeros(0, np.uint64)
    _, offsets, data = keys.buffers()
    offsets = np.frombuffer(offsets, np.int64)[keys.offset : keys.offset + len(keys) + 1]
    start, length = offsets[:-1] - offsets[0], np.diff(offsets)
    text = np.zeros(int(offsets[-1] - offsets[0]) + 8, np.uint8)
    text[:-8] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data is not None else 0
    words = np.ndarray(len(text) - 7, "<u8", text, strides=(1,))  # the word that starts at each byte
    result = length.astype(np.uint64) * _MULTIPLIER
    for first in range(0, int(length.max()), 8):
        left = length - first
        rows = slice(None) if left.min() > 0 else np.flatnonzero(left > 0)
        word = words[start[rows] + first]
        unused = np.clip(8 - left[rows], 0, 7).astype(np.uint64) * np.uint64(8)
        word = (word << unused) ^ result[rows]
        word *= _MULTIPLIER
        result[rows] = word ^ (word >> np.uint64(29))
    return result


def rises(keys: pa.Array) -> bool:
    """Whether each key is greater than the one before (as bytes of UTF-8); False if a key is null."""
    return keys.null_count == 0 and pc.all(pc.less(keys[:-1], keys[1:])).as_py() is not False


class KeyCheck:
    """Takes keys batch by batch; `finish` raises `InputError` naming the first key that occurs twice."""

    def __init__(self, where: str):
        self.where = where
        self._n_rising = 0  # batches before the first that does not rise
        self._rising, self._last = True, None
        self._runs: list[np.ndarray] = []

    def prepare(self, keys: pa.Array) -> np.ndarray | None:
        """What `add` needs to know of a batch; may be called in a thread, ahead of `add`.

        Returns
        -------
        numpy.ndarray or None
            The sorted hashes of the keys; None if the keys rise and those before them were found to do so.
        """
        return None if self._rising and rises(keys) else _sorted_hashes(keys)

    def add(self, keys: pa.Array, hashes: np.ndarray | None) -> None:
        """Add the keys of a batch and what `prepare` said of them; `InputError` for null keys."""
        if keys.null_count:
            raise InputError(f"{keys.null_count} keys are null", f"{self.where}, column key", "give every row a key")
        if len(keys) == 0:
            return
        follows = self._last is None or pc.less(self._last, keys[0]).as_py()
        self._rising = self._rising and hashes is None and follows
        if self._rising:
            self._n_rising += 1
            self._last = keys[-1]
        else:
            self._runs.append(_sorted_hashes(keys) if hashes is None else hashes)

    def finish(self, reread: Callable[[], Iterator[pa.Array]]) -> None:
        """Raise `InputError` if a key occurred twice; ``reread`` yields the same keys again."""
        if self._rising:
            return
        self._runs += ahead(_sorted_hashes, islice((keys for keys in reread() if len(keys)), self._n_rising))
        suspects = np.concatenate(list(ahead(self._repeated, range(_RANGES))))
        self._runs = []
        if len(suspects) == 0:
            return
        seen: set[str] = set()
        for keys in reread():
            for key in keys.filter(pc.is_in(pa.array(hash_strings(keys)), value_set=pa.array(suspects))).to_pylist():
                if key in seen:
                    raise InputError(
                        f"the key '{key}' occurs more than once", f"{self.where}, column key", "make keys unique"
                    )
                seen.add(key)

    def _repeated(self, part: int) -> np.ndarray:
        """Hashes that occur more than once, among those of one of `_RANGES` equal ranges."""
        width = 2**64 // _RANGES
        first, last = np.uint64(part * width), np.uint64((part + 1) * width - 1)
        pieces = [run[np.searchsorted(run, first) : np.searchsorted(run, last, "right")] for run in self._runs]
        hashes = np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)
        hashes.sort(kind="stable")  # merges the runs, which are sorted
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _sorted_hashes(keys: pa.Array) -> np.ndarray:
    hashes = hash_strings(keys)
    hashes.sort()
    return hashes
