"""Statistics of runs trained with the same few seeds: one metric is a table of runs by seeds, with no empty cell.

Few seeds per run say little about the spread, so each variance is moderated by the others of the metric
(`evenclip.summarize.inference`). Runs may differ in spread; what is assumed is that it is about normal. Runs with one
seed share initialisation and order of data, so differences between runs are paired by seed.

References: Smyth 2004 (moderated t); Satterthwaite 1946 (degrees of freedom of a sum of mean squares); Hedges 1981 (g);
Schuirmann 1987 (TOST); Kerby 2014 (rank-biserial correlation); Holm 1979.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import optimize, special, stats

NO_SPREAD = 1e-24  # variances up to here are rounding errors of values that agree
SMALLEST_HALF_DF = 1e-3


@dataclass(frozen=True)
class Prior:
    """What the other variances of a metric say of one: ``variance``, worth ``df`` degrees of freedom.

    ``variance`` is NaN where there is no spread anywhere.
    """

    variance: float
    df: float

    @classmethod
    def fit(cls, variances: np.ndarray, df: int) -> "Prior":
        """Method of moments on the logarithms: their spread beyond that of chi-square tells the prior's worth.

        Parameters
        ----------
        variances : numpy.ndarray of float, shape (n,)
            n >= 1; those without spread say nothing of the others and are left out.
        df : int
            Degrees of freedom of each, >= 1; also the most that the prior may be worth.
        """
        seen = variances[variances > NO_SPREAD]
        if not len(seen):
            return cls(math.nan, df)
        logs = np.log(seen) - special.digamma(df / 2) + math.log(df / 2)
        spread = logs.var(ddof=1) - special.polygamma(1, df / 2) if len(seen) > 1 else 0.0
        if spread <= special.polygamma(1, df / 2):
            return cls(float(seen.mean()), df)
        half = optimize.brentq(lambda x: special.polygamma(1, x) - spread, SMALLEST_HALF_DF, df / 2)
        return cls(math.exp(logs.mean() + special.digamma(half) - math.log(half)), 2 * half)

    def moderate(self, variance: float, df: int) -> float:
        """Posterior of a variance with ``df`` degrees of freedom.

        Seeds that agree exactly do so because a metric is coarse or saturated, not because there is no noise: there the
        prior stands alone.
        """
        if variance <= NO_SPREAD:
            return self.variance
        return (self.df * self.variance + df * variance) / (self.df + df)


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

    def detectable(self, level: float = LEVEL) -> float | None:
        """Smallest distance of a true value from a threshold at which a two-sided t test at ``level`` tells them apart
        with 80 % probability; None without a spread."""
        return float(_detectable_t(self.df, level)) * self.se if self.testable else None


@cache
def _detectable_t(df: float, level: float) -> float:
    """Noncentrality at which the two-sided t test at ``level`` has `POWER`.

    By quadrature over the estimated spread: scipy's noncentral t is NaN far out, where few degrees of freedom lead.
    """
    critical = stats.t.ppf(1 - level / 2, df) * np.sqrt(stats.chi2.ppf(QUANTILES, df) / df)

    def missing(noncentrality: float) -> float:
        return POWER - float(
            (stats.norm.sf(critical - noncentrality) + stats.norm.cdf(-critical - noncentrality)).mean()
        )

    return optimize.brentq(missing, 0.0, 4 * critical.mean() + 10)


class RunsBySeeds:
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
        """Mean squares of seeds, df n_seeds - 1, and of the error, df (n_runs - 1)(n_seeds - 1), of the model
        y = run + seed + error."""
        by_run, by_seed, all_over = self.values.mean(1, keepdims=True), self.values.mean(0), self.values.mean()
        seeds = self.n_runs * ((by_seed - all_over) ** 2).sum() / (self.n_seeds - 1)
        if self.n_runs == 1:
            return float(seeds), 0.0
        error = np.round(self.values - by_run - by_seed + all_over, DIGITS)
        return float(seeds), float((error**2).sum() / ((self.n_runs - 1) * (self.n_seeds - 1)))

    @cached_property
    def variance(self) -> float:
        """Variance over seeds within a run, averaged over the runs; NaN for one seed, or where it is 0."""
        if self.n_seeds == 1:
            return math.nan
        seeds, error = self._mean_squares
        pooled = (seeds + (self.n_runs - 1) * error) / self.n_runs
        return pooled if pooled > NO_SPREAD else math.nan

    @property
    def df(self) -> float:
        """Degrees of freedom of `variance`, by Satterthwaite: n_runs (n_seeds - 1) where seeds are nothing but noise,
        down to n_seeds - 1 where a seed moves all runs alike."""
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
        """Mean of a run over its seeds; the run's variance is moderated by those of the other runs.

        Degrees of freedom: prior and own together, at most those of `df`, since the variances of runs that a seed moves
        alike are not independent of each other.
        """
        values = self.values[self.runs.index(run)]
        if not math.isfinite(self.variance):
            return Contrast(float(values.mean()), math.nan, math.nan)
        return self._moderated(values, self._prior_of_means, self.df)

    def difference(self, run: str, reference: str) -> Contrast:
        """Mean over seeds of run - reference, seeds paired; the pair's variance is moderated by those of all pairs.

        For two runs it is the paired t test. Degrees of freedom: prior and own together, at most
        (n_runs - 1)(n_seeds - 1), since pairs that share runs are not independent of each other.
        """
        paired = self._paired(run, reference)
        if self.n_seeds == 1:
            return Contrast(float(paired.mean()), math.nan, math.nan)
        return self._moderated(paired, self._prior_of_differences, (self.n_runs - 1) * (self.n_seeds - 1))

    def _moderated(self, values: np.ndarray, prior: Prior, most_df: float) -> Contrast:
        own = self.n_seeds - 1
        variance = prior.moderate(float(values.var(ddof=1)), own)
        return Contrast(float(values.mean()), math.sqrt(variance / self.n_seeds), min(prior.df + own, most_df))

    def hedges_g(self, run: str, reference: str) -> float | None:
        """The difference in standard deviations over seeds (averaged over the runs), corrected for few of them."""
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
