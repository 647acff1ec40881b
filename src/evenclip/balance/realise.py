"""From weights to data: how often each row is shown per epoch, by systematic sampling in two levels.

Cells, in their sorted order, get integer totals whose running sum stays within one of the running sum of count q / eta.
So every cell's total is within one of its expectation, the grand total is n, and a realised moment differs from the
solved one by at most n_cells max|a| / n. Within a cell the surplus is spread evenly over its rows in file order. Only
the starting points are random, drawn from the seed.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from evenclip.balance.table.coding import as_arrow
from evenclip.errors import InputError
from evenclip.tables import WEIGHTS_SCHEMA

MAX_COPIES = 255


@dataclass(frozen=True)
class Plan:
    """Weight and number of copies for the rows of each cell; all arrays have shape (n_cells,).

    Attributes
    ----------
    weight : float array
        Weight of the rows that are kept.
    kept : int array
        Number of rows of the cell that are kept; the others get weight 0 and no copies.
    copies : int array
        Total number of times that rows of the cell are shown per nominal epoch.
    count : int array
        Number of rows of the cell.
    start_kept, start_copies : int arrays
        Random starting points in [0, count) and [0, max(kept, 1)).
    """

    weight: np.ndarray
    kept: np.ndarray
    copies: np.ndarray
    count: np.ndarray
    start_kept: np.ndarray
    start_copies: np.ndarray

    @classmethod
    def of_weights(cls, count: np.ndarray, weight: np.ndarray, seed: int) -> "Plan":
        """Keep every row with its cell's weight, and show it weight / mean weight times on average."""
        rng = np.random.default_rng(seed)
        return cls._with_copies(count, weight, count, count * weight, rng)

    @classmethod
    def of_subsample(cls, count: np.ndarray, retention: float | np.ndarray, seed: int) -> "Plan":
        """Keep a random share ``retention`` of (each cell's) rows, with weight 1, and show them 1 / share times."""
        rng = np.random.default_rng(seed)
        expected = count * retention
        kept = integers_along(expected, round(expected.sum()), rng.random())
        return cls._with_copies(count, np.ones(len(count)), kept, kept.astype(float), rng)

    @classmethod
    def _with_copies(cls, count, weight, kept, mass, rng) -> "Plan":
        n = int(count.sum())
        copies = integers_along(mass * (n / mass.sum()), n, rng.random())
        copies = np.where(kept > 0, copies, 0)
        if (copies > MAX_COPIES * kept).any():
            most = int(np.ceil((copies / np.maximum(kept, 1)).max()))
            raise InputError(
                f"an example would be shown {most} times per epoch; the limit is {MAX_COPIES}",
                "cap, retention",
                "ask for a smaller cap or a larger retention",
            )
        start_kept, start_copies = (
            (rng.random(len(count)) * np.maximum(size, 1)).astype(np.int64) for size in (count, kept)
        )
        return cls(weight, kept, copies, count, start_kept, start_copies)

    @property
    def most_copies(self) -> int:
        """Most copies of a row per nominal epoch."""
        return int(np.ceil(self.copies / np.maximum(self.kept, 1)).max())

    def check_copies(self, limit: float | None) -> None:
        """Raise `InputError` if a row is shown more than ``limit`` times (rounded up); None = no limit."""
        if limit is not None and self.most_copies > np.ceil(limit):
            what = f"a row would be shown {self.most_copies} times per epoch"
            raise InputError(what, "max_copies", f"allow {self.most_copies}, or choose m4 as strategy")

    @cached_property
    def _all_kept(self) -> bool:
        return bool((self.kept == self.count).all())

    def rows(self, cell: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight (float32) and copies (uint8) of rows, given each row's cell and its rank among the cell's rows."""
        kept = self.kept[cell]
        if self._all_kept:
            rank_kept, is_kept = rank, True
        else:
            count = self.count[cell]
            position = rank * kept + self.start_kept[cell]
            rank_kept = position // count
            is_kept = (position + kept) // count > rank_kept
        total = self.copies[cell]
        # a kept row's rank among the kept ones decides its share of the copies
        kept = np.maximum(kept, 1)
        position = rank_kept * total + self.start_copies[cell]
        copies = (position + total) // kept - position // kept
        return (self.weight[cell] * is_kept).astype(np.float32), np.where(is_kept, copies, 0).astype(np.uint8)


def integers_along(expected: np.ndarray, total: int, start: float) -> np.ndarray:
    """Integers that sum to ``total``; their running sums differ by at most one from those of ``expected``."""
    running = np.cumsum(expected)
    running *= total / running[-1]
    edges = np.floor(running + start).astype(np.int64)
    edges[-1] = total  # floor(total + start), without rounding errors
    return np.diff(edges, prepend=0)


def ranks(cell: np.ndarray, count: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Number of earlier rows in each row's cell.

    Parameters
    ----------
    cell : numpy.ndarray, shape (n_rows,), uint16
        Each row's cell, as an index into ``count``.
    count, seen : numpy.ndarray, shape (n_cells,), int64
        Rows of each cell in this batch, and before it.

    Returns
    -------
    numpy.ndarray, shape (n_rows,), int64
    """
    order = np.argsort(cell, kind="stable")  # numpy sorts 16-bit integers by counting
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count - seen, count)
    return rank


def weights_batch(key: pa.Array, weight: np.ndarray, copies: np.ndarray) -> pa.RecordBatch:
    """Rows of weights.parquet."""
    return pa.record_batch([key, as_arrow(weight), as_arrow(copies)], schema=WEIGHTS_SCHEMA)
