"""Statistics of runs trained with the same few seeds: one metric is a table of runs by seeds, with no empty cell.

Few seeds per run say little about the spread, so it is pooled over the runs of the study. Two assumptions are behind
every interval, and stand wherever one is shown: the spread over seeds is the same in all runs (homoscedasticity), and
it is about normal. The model is y = run + seed + error: runs with one seed share initialisation and order of data.

References: Satterthwaite 1946 (degrees of freedom of a sum of mean squares); Hedges 1981 (g); Schuirmann 1987 (TOST);
Kerby 2014 (rank-biserial correlation); Holm 1979.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import optimize, stats

LEVEL = 0.05
POWER = 0.8
QUANTILES = (np.arange(10_000) + 0.5) / 10_000
DIGITS = 12  # values that are equal on paper differ in the last bits


@dataclass(frozen=True)
class Contrast:
    """An estimate whose error is Student's t with ``df`` degrees of freedom times ``se``.

    ``se`` is NaN where there is one seed only, or where all seeds agree exactly: then there is no spread to judge by,
    and neither interval nor p.
    """

    estimate: float
    se: float
    df: float

    @property
    def testable(self) -> bool:
        """Is there a spread to judge by?"""
        return math.isfinite(self.se)

    def interval(self, level: float = LEVEL) -> tuple[float, float] | tuple[None, None]:
        """Two-sided interval of coverage 1 - ``level``; (None, None) without a spread."""
        if not self.testable:
            return None, None
        half = float(stats.t.ppf(1 - level / 2, self.df)) * self.se
        return self.estimate - half, self.estimate + half

    def p_above(self, threshold: float) -> float:
        """One-sided p against the hypothesis that the true value is at most ``threshold``."""
        return float(stats.t.sf((self.estimate - threshold) / self.se, self.df))

    def p_below(self, threshold: float) -> float:
        """One-sided p against the hypothesis that the true value is at least ``threshold``."""
        return float(stats.t.cdf((self.estimate - threshold) / self.se, self.df))

    def p_within(self, margin: float) -> float:
        """TOST: p against the hypothesis that the true value is ``margin`` or more away from 0."""
        return max(self.p_above(-margin), self.p_below(margin))

    def p_outside(self, margin: float) -> float:
        """p against the hypothesis that the true value is within ``margin`` of 0; the t test where ``margin`` is 0."""
        distance = abs(self.estimate)
        tails = stats.t.sf([(distance - margin) / self.se, (distance + margin) / self.se], self.df)
        return min(1.0, float(tails.sum()))

    @property
    def detectable(self) -> float | None:
        """Smallest true value that a two-sided 5 % t test finds with 80 % probability; None without a spread."""
        return float(_detectable_t(self.df)) * self.se if self.testable else None


@cache
def _detectable_t(df: float) -> float:
    """Noncentrality at which the two-sided t test at `LEVEL` has `POWER`.

    By quadrature over the estimated spread: scipy's noncentral t is NaN far out, where few degrees of freedom lead.
    """
    critical = stats.t.ppf(1 - LEVEL / 2, df) * np.sqrt(stats.chi2.ppf(QUANTILES, df) / df)

    def missing(noncentrality: float) -> float:
        return POWER - float(
            (stats.norm.sf(critical - noncentrality) + stats.norm.cdf(-critical - noncentrality)).mean()
        )

    return optimize.brentq(missing, 0.0, 4 * critical.mean() + 10)


class Layout:
    """Values of one metric: runs by seeds.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Run -> one value per seed, all runs with the same seeds in the same order.
    """

    def __init__(self, values: dict[str, Sequence[float]]):
        self.runs = tuple(values)
        self.values = np.array([values[run] for run in self.runs], dtype=float)  # (n_runs, n_seeds)
        self.n_runs, self.n_seeds = self.values.shape

    @cached_property
    def _mean_squares(self) -> tuple[float, float]:
        """Mean squares of seeds, df n_seeds - 1, and of the error, df (n_runs - 1)(n_seeds - 1)."""
        by_run, by_seed, all_over = self.values.mean(1, keepdims=True), self.values.mean(0), self.values.mean()
        seeds = self.n_runs * ((by_seed - all_over) ** 2).sum() / (self.n_seeds - 1)
        if self.n_runs == 1:
            return float(seeds), 0.0
        error = np.round(self.values - by_run - by_seed + all_over, DIGITS)
        return float(seeds), float((error**2).sum() / ((self.n_runs - 1) * (self.n_seeds - 1)))

    @cached_property
    def variance(self) -> float:
        """Variance over seeds within a run, pooled over the runs; NaN for one seed, or where it is 0."""
        if self.n_seeds == 1:
            return math.nan
        seeds, error = self._mean_squares
        pooled = (seeds + (self.n_runs - 1) * error) / self.n_runs
        return pooled if pooled > 10.0 ** (-2 * DIGITS) else math.nan

    @property
    def df(self) -> float:
        """Degrees of freedom of `variance`, by Satterthwaite: n_runs (n_seeds - 1) where seeds are nothing but noise,
        down to n_seeds - 1 where a seed moves all runs alike."""
        if not math.isfinite(self.variance):
            return math.nan
        seeds, error = self._mean_squares
        parts = seeds**2 / (self.n_seeds - 1) + (self.n_runs - 1) * error**2 / (self.n_seeds - 1)
        return self.variance**2 * self.n_runs**2 / parts

    def mean(self, run: str) -> Contrast:
        """Mean of a run over its seeds; the spread is pooled over the runs."""
        estimate = float(self.values[self.runs.index(run)].mean())
        return Contrast(estimate, math.sqrt(self.variance / self.n_seeds), self.df)

    def difference(self, run: str, reference: str) -> Contrast:
        """Mean over seeds of run - reference, seeds paired; for two runs the paired t test, for more its pooled form.

        se^2 = 2 MS_error / n_seeds with (n_runs - 1)(n_seeds - 1) degrees of freedom.
        """
        estimate = float(self._paired(run, reference).mean())
        df = (self.n_runs - 1) * (self.n_seeds - 1)
        error = self._mean_squares[1] if df else 0.0
        return Contrast(estimate, math.sqrt(2 * error / self.n_seeds) if error else math.nan, df)

    def hedges_g(self, run: str, reference: str) -> float | None:
        """The difference in standard deviations over seeds (pooled over the runs), corrected for few of them."""
        if not math.isfinite(self.variance) or self.df <= 1:
            return None
        log_j = math.lgamma(self.df / 2) - math.lgamma((self.df - 1) / 2) - math.log(math.sqrt(self.df / 2))
        return self.difference(run, reference).estimate / math.sqrt(self.variance) * math.exp(log_j)

    def wilcoxon(self, run: str, reference: str) -> tuple[float, float | None]:
        """Statistic and two-sided p of the signed-rank test, exact; with ties up to 13 seeds.

        p is None where even the clearest outcome, 2 * 2**-n_seeds, is above 0.05: fewer than 6 seeds.
        """
        difference = self._paired(run, reference)
        # scipy has no answer where all differences are 0
        statistic, p = map(float, stats.wilcoxon(difference)) if difference.any() else (0.0, 1.0)
        return statistic, p if 2 * 2.0**-self.n_seeds <= LEVEL else None

    def rank_biserial(self, run: str, reference: str) -> float:
        """Effect size of the signed-rank test, in [-1, 1]: (W+ - W-) / (W+ + W-), 1 = run is higher in every seed."""
        difference = self._paired(run, reference)
        difference = difference[difference != 0]
        ranks = stats.rankdata(abs(difference))
        return float((np.sign(difference) * ranks).sum() / ranks.sum()) if len(ranks) else 0.0

    def _paired(self, run: str, reference: str) -> np.ndarray:
        """run - reference by seed, rounded, since differences that are equal on paper must be ties of ranks."""
        difference = self.values[self.runs.index(run)] - self.values[self.runs.index(reference)]
        return np.round(difference, DIGITS) + 0.0  # + 0.0 turns -0.0 into 0.0


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values, in their order."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(p), 0, -1) * np.asarray(p)[order]))
    return adjusted.tolist()
