"""What a bias metric comes to by chance alone: groups dealt at random.

A largest difference between groups, or a skew of a ranking, is above 0 even for a model whose predictions have nothing
to do with the groups, because groups are finite. The mean over random deals says how far, and stands as `random` beside
the value.
"""

from collections.abc import Iterator

import numpy as np

from evenclip.evaluate.bootstrap import Statistic

DEALS = 200


def deals(codes: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield ``codes``, shape (n,), in `DEALS` random orders."""
    rng = np.random.default_rng([seed, DEALS])  # another stream than the bootstrap's
    for _ in range(DEALS):
        yield rng.permutation(codes)


def chance_of(
    statistic: Statistic, values: np.ndarray, strata: np.ndarray, seed: int, blocks: np.ndarray | None = None
) -> float:
    """Mean of ``statistic(means)`` over random deals of the examples to strata of the same sizes.

    Parameters
    ----------
    statistic : callable
        Maps means, shape (..., n_strata, n_values), to a metric, shape (...).
    values : ndarray, shape (n, n_values)
    strata : ndarray of int, shape (n,)
        0 ... n_strata - 1, none of them empty.
    seed : int
    blocks : ndarray of int, shape (n,), optional
        Examples are dealt within their block only; it must rise with ``strata``. Default: all in one.
    """
    sizes, blocks = np.bincount(strata), np.zeros(len(strata), dtype=int) if blocks is None else blocks
    starts = np.cumsum(sizes) - sizes
    orders = (order[np.argsort(blocks[order], kind="stable")] for order in deals(np.arange(len(strata)), seed))
    sums = [np.add.reduceat(values[order], starts, axis=0) for order in orders]
    return float(np.mean(statistic(np.stack(sums) / sizes[:, None])))
