"""Statistical inference for runs trained with the same few seeds; each metric is a complete table of runs by seeds.

A few seeds per run say little about the variance, so below `OWN_VARIANCE` seeds each variance is moderated by the other
variances of the metric (empirical Bayes). From there on each is judged by its own alone: moderated tests of a pair that
is noisier than the others reject too often in the tail, where tests adjusted for many claims are made. Runs may differ
in variance; values are assumed to be roughly normal. Trainings with equal seeds share initialisation and data order, so
differences between runs are paired by seed.

References: Smyth 2004 (moderated t); Satterthwaite 1946 (degrees of freedom of a sum of mean squares); Hedges 1981 (g);
Schuirmann 1987 (TOST); Kerby 2014 (rank-biserial correlation).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import optimize, special, stats

from evenclip.summarize.options import OWN_VARIANCE

NO_SPREAD = 1e-24  # smaller variances are rounding errors of equal values
SMALLEST_HALF_DF = 1e-3


@dataclass(frozen=True)
class Prior:
    """Prior for the variances of a metric: ``variance`` with the weight of ``df`` degrees of freedom.

    ``variance`` is NaN if no variance is above 0.
    """

    variance: float
    df: float

    @classmethod
    def fit(cls, variances: np.ndarray, df: int) -> "Prior":
        """Fit by the method of moments on log variances: the less they vary beyond chi-square noise, the larger ``df``.

        Parameters
        ----------
        variances : numpy.ndarray of float, shape (n,)
            n >= 1; variances of 0 are left out.
        df : int
            Degrees of freedom of each, >= 1; also the upper limit of the prior's.
        """
        positive = variances[variances > NO_SPREAD]
        if not len(positive):
            return cls(math.nan, df)
        logs = np.log(positive) - special.digamma(df / 2) + math.log(df / 2)
        spread = logs.var(ddof=1) - special.polygamma(1, df / 2) if len(positive) > 1 else 0.0
        if spread <= special.polygamma(1, df / 2):
            return cls(float(positive.mean()), df)
        half = optimize.brentq(lambda x: special.polygamma(1, x) - spread, SMALLEST_HALF_DF, df / 2)
        return cls(math.exp(logs.mean() + special.digamma(half) - math.log(half)), 2 * half)

    def moderate(self, variance: float, df: int) -> float:
        """Posterior of a variance with ``df`` degrees of freedom.

        A variance of 0 gets the prior alone: equal seeds mean a coarse or saturated metric, not the absence of noise.
        """
        if variance <= NO_SPREAD:
            return self.variance
        return (self.df * self.variance + df * variance) / (self.df + df)


LEVEL = 0.05
POWER = 0.8
QUANTILES = (np.arange(10_000) + 0.5) / 10_000
DIGITS = 12  # rounding, since equal values may differ in their last bits


@dataclass(frozen=True)
class Contrast:
    """An estimate whose error is distributed as ``se`` times Student's t with ``df`` degrees of freedom.

    ``se`` is NaN with a single seed or if all seeds agree exactly; there is then neither an interval nor a p value.
    """

    estimate: float
    se: float
    df: float

    @property
    def testable(self) -> bool:
        """Whether there is a standard error for a test."""
        return math.isfinite(self.se)

    def interval(self, level: float = LEVEL) -> tuple[float, float] | tuple[None, None]:
        """Two-sided interval of coverage 1 - ``level``; (None, None) if not `testable`."""
        if not self.testable:
            return None, None
        half = self._t(level) * self.se
        return self.estimate - half, self.estimate + half

    def interval_within(self, low: float, high: float) -> tuple[float, float] | tuple[None, None]:
        """Two-sided 95 % interval of a mean of values in [low, high], which does not leave this range.

        It is symmetrical on the scale of logits (delta method); a mean at an end of the range has its ordinary
        interval, cut there.
        """
        if not self.testable:
            return None, None
        share = (self.estimate - low) / (high - low)
        if not 0 < share < 1:
            ends = self.interval()
            return max(ends[0], low), min(ends[1], high)
        half = self._t(LEVEL) * self.se / (high - low) / (share * (1 - share))
        ends = special.expit(special.logit(share) + np.array([-half, half]))
        return tuple((low + (high - low) * ends).tolist())

    def _t(self, level: float) -> float:
        return -float(special.stdtrit(self.df, level / 2))

    def p_above(self, threshold: float) -> float:
        """One-sided p against the hypothesis that the true value is at most ``threshold``."""
        return float(special.stdtr(self.df, (threshold - self.estimate) / self.se))

    def p_below(self, threshold: float) -> float:
        """One-sided p against the hypothesis that the true value is at least ``threshold``."""
        return float(special.stdtr(self.df, (self.estimate - threshold) / self.se))

    def p_within(self, margin: float) -> float:
        """Two one-sided tests (TOST): p against the hypothesis that the true value is at least ``margin`` from 0."""
        return max(self.p_above(-margin), self.p_below(margin))

    def p_outside(self, margin: float) -> float:
        """p against the hypothesis that the true value is within ``margin`` of 0; the t test where ``margin`` is 0."""
        distance = abs(self.estimate)
        tails = special.stdtr(self.df, np.array([margin - distance, -margin - distance]) / self.se)
        return min(1.0, float(tails.sum()))

    def detectable(self, level: float = LEVEL) -> float | None:
        """Smallest distance from a threshold that a two-sided t test at ``level`` detects with 80 % power.

        None if not `testable`.
        """
        return float(_detectable_t(self.df, level)) * self.se if self.testable else None


@cache
def _detectable_t(df: float, level: float) -> float:
    """Noncentrality at which the two-sided t test at ``level`` has `POWER`.

    By quadrature over the estimated variance, since scipy's noncentral t is NaN for the large values that few degrees
    of freedom need.
    """
    critical = stats.t.ppf(1 - level / 2, df) * np.sqrt(stats.chi2.ppf(QUANTILES, df) / df)

    def missing(noncentrality: float) -> float:
        return POWER - float(
            (stats.norm.sf(critical - noncentrality) + stats.norm.cdf(-critical - noncentrality)).mean()
        )

    return optimize.brentq(missing, 0.0, 4 * critical.mean() + 10)


class RunsBySeeds:
    """Values of one metric by run and seed.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Run -> one value per seed, all runs with the same seeds in the same order.
    """

    def __init__(self, values: dict[str, Sequence[float]]):
        self.runs = tuple(values)
        self.values = np.array([values[run] for run in self.runs], dtype=float)  # (n_runs, n_seeds)
        self.n_runs, self.n_seeds = self.values.shape

    def first(self, n_seeds: int) -> "RunsBySeeds":
        """The same runs with their first ``n_seeds`` seeds alone."""
        return RunsBySeeds(dict(zip(self.runs, self.values[:, :n_seeds].tolist(), strict=True)))

    @cached_property
    def _mean_squares(self) -> tuple[float, float]:
        """Mean squares of seeds and of the error in the model y = run + seed + error.

        Their degrees of freedom are n_seeds - 1 and (n_runs - 1)(n_seeds - 1).
        """
        by_run, by_seed, all_over = self.values.mean(1, keepdims=True), self.values.mean(0), self.values.mean()
        seeds = self.n_runs * ((by_seed - all_over) ** 2).sum() / (self.n_seeds - 1)
        if self.n_runs == 1:
            return float(seeds), 0.0
        error = np.round(self.values - by_run - by_seed + all_over, DIGITS)
        return float(seeds), float((error**2).sum() / ((self.n_runs - 1) * (self.n_seeds - 1)))

    @cached_property
    def variance(self) -> float:
        """Variance over seeds within a run, averaged over runs; NaN for a single seed or if it is 0."""
        if self.n_seeds == 1:
            return math.nan
        seeds, error = self._mean_squares
        pooled = (seeds + (self.n_runs - 1) * error) / self.n_runs
        return pooled if pooled > NO_SPREAD else math.nan

    @property
    def df(self) -> float:
        """Satterthwaite degrees of freedom of `variance`.

        From n_seeds - 1 if a seed shifts all runs alike, to n_runs (n_seeds - 1) if seeds are independent noise.
        """
        if not math.isfinite(self.variance):
            return math.nan
        seeds, error = self._mean_squares
        parts = seeds**2 / (self.n_seeds - 1) + (self.n_runs - 1) * error**2 / (self.n_seeds - 1)
        return self.variance**2 * self.n_runs**2 / parts

    @cached_property
    def _prior_of_means(self) -> Prior:
        return Prior.fit(self.values.var(axis=1, ddof=1), self.n_seeds - 1)

    @cached_property
    def _prior_of_differences(self) -> Prior:
        a, b = np.triu_indices(self.n_runs, 1)
        pairs = np.round(self.values[a] - self.values[b], DIGITS)
        return Prior.fit(pairs.var(axis=1, ddof=1), self.n_seeds - 1)

    def mean(self, run: str) -> Contrast:
        """Mean of a run over its seeds; with few seeds its variance is moderated by those of the other runs.

        The degrees of freedom then are those of the prior plus those of the run, at most `df`, since the variances of
        runs are not independent if a seed shifts them alike.
        """
        values = self.values[self.runs.index(run)]
        if self.n_seeds >= OWN_VARIANCE:
            return self._by_own_variance(values)
        if not math.isfinite(self.variance):
            return Contrast(float(values.mean()), math.nan, math.nan)
        return self._contrast(values, self._prior_of_means, self.df)

    def difference(self, run: str, reference: str) -> Contrast:
        """Mean over seeds of run - reference, paired by seed: the paired t test from `OWN_VARIANCE` seeds on.

        With fewer seeds the variance is moderated by those of all pairs. The degrees of freedom are then those of the
        prior plus those of the pair, at most (n_runs - 1)(n_seeds - 1), since pairs that share a run are not
        independent.
        """
        paired = self._paired(run, reference)
        if self.n_seeds == 1:
            return Contrast(float(paired.mean()), math.nan, math.nan)
        if self.n_seeds >= OWN_VARIANCE:
            return self._by_own_variance(paired)
        return self._contrast(paired, self._prior_of_differences, (self.n_runs - 1) * (self.n_seeds - 1))

    def _by_own_variance(self, values: np.ndarray) -> Contrast:
        variance = float(values.var(ddof=1))
        se = math.sqrt(variance / self.n_seeds) if variance > NO_SPREAD else math.nan
        return Contrast(float(values.mean()), se, self.n_seeds - 1)

    def _contrast(self, values: np.ndarray, prior: Prior, most_df: float) -> Contrast:
        own = self.n_seeds - 1
        variance = prior.moderate(float(values.var(ddof=1)), own)
        return Contrast(float(values.mean()), math.sqrt(variance / self.n_seeds), min(prior.df + own, most_df))

    def hedges_g(self, run: str, reference: str) -> float | None:
        """Hedges' g: difference in units of the standard deviation over seeds, corrected for small samples."""
        if not math.isfinite(self.variance) or self.df <= 1:
            return None
        log_j = math.lgamma(self.df / 2) - math.lgamma((self.df - 1) / 2) - math.log(math.sqrt(self.df / 2))
        return self.difference(run, reference).estimate / math.sqrt(self.variance) * math.exp(log_j)

    def wilcoxon(self, run: str, reference: str) -> tuple[float, float | None]:
        """Statistic and two-sided p of Wilcoxon's signed-rank test, exact (with ties, up to 13 seeds).

        p is None with fewer than 6 seeds, where even the smallest possible value, 2 * 2**-n_seeds, is above 0.05.
        """
        difference = self._paired(run, reference)
        # scipy cannot handle differences that are all 0
        statistic, p = map(float, stats.wilcoxon(difference)) if difference.any() else (0.0, 1.0)
        return statistic, p if 2 * 2.0**-self.n_seeds <= LEVEL else None

    def rank_biserial(self, run: str, reference: str) -> float:
        """Rank-biserial correlation (W+ - W-) / (W+ + W-), in [-1, 1]; 1 = run is higher in every seed."""
        difference = self._paired(run, reference)
        difference = difference[difference != 0]
        ranks = stats.rankdata(abs(difference))
        return float((np.sign(difference) * ranks).sum() / ranks.sum()) if len(ranks) else 0.0

    def _paired(self, run: str, reference: str) -> np.ndarray:
        """run - reference by seed, rounded so that equal differences tie in rank."""
        difference = self.values[self.runs.index(run)] - self.values[self.runs.index(reference)]
        return np.round(difference, DIGITS) + 0.0  # + 0.0 turns -0.0 into 0.0
