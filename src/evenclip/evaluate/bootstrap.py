"""Bootstrap intervals and chance levels of metrics, vectorised and seeded.

Every metric is a function of means over examples, of all examples or of each stratum (group). A resample of n examples
is a row of counts. Counts times values gives the resampled means, and the same function maps these to the resampled
metric. A maximum, for example, is taken again within each resample.

There are three kinds of interval:

- Percentile (`interval_row`) for means and differences, which are nearly unbiased.
- Norm (`Means.norm_row`) for max|x_k|, mean|x_k| and largest differences. If the x_k are near zero these are biased
  upwards, in the sample and again in each resample, so a percentile interval would lie above the true value. Every
  seminorm T satisfies |T(x) - T(y)| <= T(x - y). The lower end is therefore the value minus the 97.5 % quantile of
  T(resample - sample); the upper end is the percentile. These intervals are conservative (rather too wide).
- Reflected (`reflected_row`), the "basic" interval 2 value - quantiles clipped to the metric's range, for other biased
  values (divergence, skew, entropy). It removes the bias to first order only.

The chance level (`chance_level`) is the mean of a metric over random permutations of the group labels.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16; Davison and Hinkley,
Bootstrap Methods and their Application (1997), section 5.2 (basic intervals).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from evenclip.intervals import wilson_interval
from evenclip.tables import MetricRow

# maps means, shape (..., n_strata, n_values), to a metric, shape (...)
Statistic = Callable[[np.ndarray], np.ndarray]
N_PERMUTATIONS = 200  # of the group labels, for the chance level
# resample counts held at once: 2**18 of 8 bytes are 2 MB, which fit in a processor's cache
_BLOCK = 2**18


@dataclass(frozen=True)
class Bootstrap:
    """Sampler of resamples. Equal (n, strata) give equal draws, so metrics of different models are paired.

    Parameters
    ----------
    resamples : int
        Number of resamples.
    seed : int
    """

    resamples: int
    seed: int

    def counts(self, strata: np.ndarray) -> Iterator[np.ndarray]:
        """Yield blocks of counts, shape (n_block, n): how often each resample contains each example.

        Examples are drawn with replacement within their stratum, so every stratum keeps its size.

        Parameters
        ----------
        strata : ndarray of int, shape (n,)
            Stratum of each example; all zero for a plain bootstrap.
        """
        rng = np.random.default_rng(self.seed)
        n = len(strata)
        members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
        step = max(1, _BLOCK // n)
        for start in range(0, self.resamples, step):
            size = min(step, self.resamples - start)
            drawn = [rows[rng.integers(len(rows), size=(size, len(rows)))] for rows in members]
            cells = np.concatenate(drawn, axis=1) + np.arange(size)[:, None] * n
            yield np.bincount(cells.ravel(), minlength=size * n).reshape(size, n)

    def means(self, values: np.ndarray, strata: np.ndarray | None = None) -> "Means":
        """Mean of ``values`` in each stratum, in the sample and in each resample.

        Parameters
        ----------
        values : ndarray, shape (n, n_values)
        strata : ndarray of int, shape (n,), optional
            0 ... n_strata - 1, none of them empty; default: one stratum.
        """
        strata = np.zeros(len(values), dtype=int) if strata is None else strata
        order = np.argsort(strata, kind="stable")
        values = np.asarray(values, dtype=float)[order]
        sizes = np.bincount(strata)
        slices = [slice(stop - size, stop) for stop, size in zip(np.cumsum(sizes), sizes, strict=True)]
        point = np.stack([values[rows].mean(axis=0) for rows in slices])
        blocks = [
            np.stack([counts[:, rows] @ values[rows] / (rows.stop - rows.start) for rows in slices], axis=1)
            for counts in (block.astype(float) for block in self.counts(strata[order]))
        ]
        return Means(point, np.concatenate(blocks))


@dataclass(frozen=True)
class Means:
    """Means per stratum, shape (n_strata, n_values), and their replicates, shape (resamples, n_strata, n_values)."""

    point: np.ndarray
    replicates: np.ndarray

    def row(self, metric: str, statistic: Statistic, n: int, group: str = "", random: float | None = None) -> MetricRow:
        """Row of the metric ``statistic(means)`` with its percentile interval."""
        return interval_row(metric, statistic(self.point), statistic(self.replicates), n, group, random)

    def norm_row(self, metric: str, norm: Statistic, n: int, random: float | None = None) -> MetricRow:
        """Row of the metric ``norm(means)``, a seminorm such as a largest absolute difference, with its interval."""
        value, changes = float(norm(self.point)), norm(self.replicates - self.point)
        low = max(0.0, value - np.quantile(changes, 0.975))
        high = max(value, np.quantile(norm(self.replicates), 0.975))
        return MetricRow(metric, value, float(low), float(high), int(n), random=random)


def interval_row(
    metric: str, value: float, replicates: np.ndarray, n: int, group: str = "", random: float | None = None
) -> MetricRow:
    """Row with the 95 % percentile interval of ``replicates``, shape (resamples,), widened to include ``value``."""
    low, high = np.quantile(replicates, [0.025, 0.975])
    return MetricRow(metric, float(value), float(min(low, value)), float(max(high, value)), int(n), group, random)


def reflected_row(
    metric: str, value: float, replicates: np.ndarray, n: int, within: tuple[float, float], group: str = "",
    random: float | None = None,
) -> MetricRow:  # fmt: skip
    """Row with the 95 % basic interval of ``replicates``, shape (resamples,), clipped to the range ``within``."""
    low, high = np.clip(2 * value - np.quantile(replicates, [0.975, 0.025]), *within)
    return MetricRow(metric, float(value), float(min(low, value)), float(max(high, value)), int(n), group, random)


def clustered_row(
    metric: str, values: np.ndarray, clusters: np.ndarray, bootstrap: Bootstrap, group: str = "",
    random: float | None = None,
) -> MetricRow:  # fmt: skip
    """Row of the mean of ``values``, shape (n,), with a bootstrap over ``clusters``, shape (n,).

    Examples of one cluster are alike; resampling them one by one would give an interval that is too short.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    means = bootstrap.means(np.stack([np.bincount(cluster, values), np.bincount(cluster)], axis=1))
    return means.row(metric, lambda m: m[..., 0, 0] / m[..., 0, 1], len(values), group, random)


def share_row(
    metric: str, hits: np.ndarray, group: str = "", random: float | None = None, independent: int | None = None
) -> MetricRow:
    """Row of the mean of ``hits`` with Wilson's 95 % interval.

    Parameters
    ----------
    metric : str
    hits : ndarray, shape (n,)
        In [0, 1]. Fractions (ties) vary less than Wilson's interval assumes, which is then conservative.
    group : str
    random : float, optional
    independent : int, optional
        Number of independent examples; default n.
    """
    share = float(np.mean(hits, dtype=float))
    low, high = wilson_interval(share, independent or len(hits))
    return MetricRow(metric, share, min(low, share), max(high, share), len(hits), group, random)


def permutations(codes: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield `N_PERMUTATIONS` random permutations of ``codes``, shape (n,)."""
    rng = np.random.default_rng([seed, N_PERMUTATIONS])  # another stream than the bootstrap's
    for _ in range(N_PERMUTATIONS):
        yield rng.permutation(codes)


def chance_level(
    statistic: Statistic, values: np.ndarray, strata: np.ndarray, seed: int, blocks: np.ndarray | None = None
) -> float:
    """Mean of ``statistic(means)`` over random permutations of the group labels.

    A largest difference between groups is above 0 even for a model whose predictions have nothing to do with the
    groups, because groups are finite. This level is reported as `random` beside the value.

    Parameters
    ----------
    statistic : callable
        Maps means, shape (..., n_strata, n_values), to a metric, shape (...).
    values : ndarray, shape (n, n_values)
    strata : ndarray of int, shape (n,)
        Group of each example: 0 ... n_strata - 1, none of them empty. Group sizes stay as they are.
    seed : int
    blocks : ndarray of int, shape (n,), optional
        Labels are permuted within each block only; blocks must rise with ``strata``. Default: one block.
    """
    sizes, blocks = np.bincount(strata), np.zeros(len(strata), dtype=int) if blocks is None else blocks
    starts = np.cumsum(sizes) - sizes
    orders = (order[np.argsort(blocks[order], kind="stable")] for order in permutations(np.arange(len(strata)), seed))
    sums = [np.add.reduceat(values[order], starts, axis=0) for order in orders]
    return float(np.mean(statistic(np.stack(sums) / sizes[:, None])))
