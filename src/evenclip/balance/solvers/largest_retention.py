"""The largest retention (mean weight) at which the constraints of M4, multi-modal moment matching, can hold."""

from dataclasses import dataclass

import numpy as np

from evenclip.balance.moments import Moments
from evenclip.balance.solvers.interior_point import Solution, interior_point

RETENTION_TOLERANCE = 1e-5  # the largest feasible retention is bracketed this closely
AUTO_MARGIN = 1e-3  # `retention: auto` stays below the largest feasible retention by this share of it


@dataclass(frozen=True)
class RetentionBound:
    """Bracket of the largest feasible retention.

    Attributes
    ----------
    lower, upper : float
        A retention that is feasible, and a proven bound above which none is.
    multiplier : numpy.ndarray, shape (J,)
        Proof of ``upper``; its largest entries (times the moments' size) belong to the limiting constraints.
    """

    lower: float
    upper: float
    multiplier: np.ndarray


def largest_retention(moments: Moments, cap: float) -> RetentionBound:
    """Largest eta <= 1 at which all constraints can hold: the linear programme max E[q], |E[q a_j]| <= eps_j E[q].

    Feasible retentions form an interval [0, eta_max], since weights can be scaled down. For any multipliers nu,
    eta_max <= Q E[max(0, 1 + sum_j eps_j |nu_j| - sum_j nu_j a_j)]. Both bounds are capped at 1.
    """
    everything = np.ones(len(moments.weight))
    if (moments.residual(everything, 1.0) <= moments.tolerance).all():
        return RetentionBound(1.0, 1.0, np.zeros(moments.n_moments))
    stalled = _Stalled(moments, cap)
    *_, solution = interior_point(moments, cap, None, tolerances=[RETENTION_TOLERANCE / 10], stop=stalled)
    lower, upper = _bracket(moments, cap, solution)
    return RetentionBound(min(lower, 1.0), min(upper, 1.0), solution.multiplier)


class _Stalled:
    """Stopping rule: the bracket is narrow enough and, because of rounding, does not get much narrower."""

    def __init__(self, moments: Moments, cap: float):
        self.moments, self.cap = moments, cap
        self.width = np.inf

    def __call__(self, solution: Solution) -> bool:
        if solution.merit > 10 * RETENTION_TOLERANCE:
            return False
        lower, upper = _bracket(self.moments, self.cap, solution)
        before, self.width = self.width, min(self.width, abs(upper - lower) / max(upper, 1e-12))
        return self.width <= RETENTION_TOLERANCE and self.width > before / 2


def _bracket(moments: Moments, cap: float, solution: Solution) -> tuple[float, float]:
    """A feasible retention (0 if none was shown to be feasible), and a bound above which none is feasible."""
    lower = moments.mean(solution.weight)
    over = moments.expect(solution.weight) / lower
    violation = (np.abs(over) - moments.tolerance) / np.maximum(moments.size, 1e-12)
    lower = lower if violation.max() <= RETENTION_TOLERANCE else 0.0
    return lower, retention_bound(moments, cap, solution.multiplier)


def retention_bound(moments: Moments, cap: float, nu: np.ndarray) -> float:
    """Retention above which none is feasible, proven by the multipliers ``nu``, shape (J,); see `largest_retention`."""
    slope = 1.0 + float(moments.tolerance @ np.abs(nu)) - moments.combine(nu)
    return cap * moments.mean(np.maximum(slope, 0))
