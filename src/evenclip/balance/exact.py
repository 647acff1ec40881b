"""M4 solved exactly (paper: M4, ICLR 2024, section 3): weights, certificate, and the largest feasible retention.

Primal, over weights q of cells:  min 1/2 E[(q - eta u)^2] + V sum_j max(0, |E[q a_j]| - eta eps_j)
s.t. E[q] = eta, 0 <= q <= Q. Its dual maximises, over |lambda_j| <= V and mu,
D = E[1/2 (q - eta u)^2 + (sum_j lambda_j a_j + mu) q] - eta mu - eta sum_j eps_j |lambda_j|
with q = clip(eta u - sum_j lambda_j a_j - mu, 0, Q). Any multipliers bound the optimum from below, so
(primal - D) / primal certifies the weights whatever way they were found.

The result is exact when the rows of each cell share their utility (always so without a utility column). Otherwise
rows get the weight of their bin's mean utility; as q is a projection of eta u, which does not expand distances, the
weights are off by at most eta / 2^(utility_bits + 1) in root mean square, and the constraints hold all the same.
"""

from dataclasses import dataclass

import numpy as np

from evenclip.balance.interior_point import interior_point
from evenclip.balance.moments import Moments

FEASIBLE_RESIDUAL = 1e-7  # how far, relative to a moment's size, a held constraint may be exceeded
GAP_TOLERANCE = 1e-8
RETENTION_TOLERANCE = 1e-6  # the largest feasible retention is bracketed this closely
AUTO_MARGIN = 1e-3  # `retention: auto` stays below the largest feasible one by this factor
PENALTY = 100.0  # V, where constraints cannot hold and none is given
_SCALE_FLOOR = 1e-3  # a gap is relative to max(primal, this * eta^2): the primal of balanced data is 0


@dataclass(frozen=True)
class Weighting:
    """Weights of cells with their certificate.

    Attributes
    ----------
    weight : numpy.ndarray, shape (n_cells,)
        q in [0, Q].
    retention : float
        eta = E[q].
    objective, dual_bound : float
        Primal value (with penalties, if any) and the lower bound that its multipliers prove.
    relative_gap : float
        (objective - dual_bound) / max(objective, eta^2 / 1000).
    multiplier : numpy.ndarray, shape (J,)
        lambda.
    mean_multiplier : float
        mu.
    steps : int
        Newton steps taken.
    """

    weight: np.ndarray
    retention: float
    objective: float
    dual_bound: float
    relative_gap: float
    multiplier: np.ndarray
    mean_multiplier: float
    steps: int

    @property
    def converged(self) -> bool:
        """Whether the certificate is as tight as `GAP_TOLERANCE`."""
        return bool(abs(self.relative_gap) <= GAP_TOLERANCE)


def solve(moments: Moments, retention: float, cap: float, price: float = np.inf) -> Weighting:
    """Solve M4 at retention ``eta`` in (0, Q] with enforcement ``price`` (V; infinite = hard constraints).

    With hard constraints ``retention`` must be feasible: see `largest_retention`.
    """
    centre = retention * moments.utility
    if retention >= cap * (1 - 1e-9):
        return _everything(moments, cap, price)
    found = interior_point(moments, centre, cap, retention, price)
    candidates = [found.weight, _dual_weight(moments, centre, cap, found.multiplier, found.mean_multiplier)]
    rated = [
        certify(moments, q, retention, cap, price, found.multiplier, found.mean_multiplier, found.steps)
        for q in candidates
    ]
    # the weights that the multipliers imply have exact zeros and caps: take them if they are as good
    interior, implied = rated
    fits = (
        abs(moments.mean(implied.weight) - retention) < 1e-11
        and excess(moments, implied) <= excess(moments, interior) + 1e-11
    )
    return implied if fits and abs(implied.relative_gap) <= max(abs(interior.relative_gap), 1e-10) else interior


def certify(
    moments: Moments, weight: np.ndarray, retention: float, cap: float, price: float, multiplier: np.ndarray,
    mean_multiplier: float, steps: int,
) -> Weighting:  # fmt: skip
    """Primal value of ``weight``, the dual bound of the multipliers, and the gap between them."""
    centre, eps = retention * moments.utility, retention * moments.tolerance.ravel()
    multiplier = np.clip(multiplier, -price, price)
    primal = 0.5 * moments.mean((weight - centre) ** 2)
    if np.isfinite(price):
        primal += price * float(np.maximum(np.abs(moments.expect(weight)) - eps, 0).sum())
    pull = moments.combine(multiplier) + mean_multiplier
    q = np.clip(centre - pull, 0, cap)
    dual = (
        moments.mean(0.5 * (q - centre) ** 2 + pull * q) - retention * mean_multiplier - float(eps @ np.abs(multiplier))
    )
    gap = (primal - dual) / max(primal, _SCALE_FLOOR * retention**2)
    return Weighting(weight, retention, primal, dual, gap, multiplier, mean_multiplier, steps)


def excess(moments: Moments, weighting: Weighting) -> float:
    """Largest violation of a constraint, relative to its moment's root mean square; 0 = all hold."""
    over = moments.residual(weighting.weight, weighting.retention) - moments.tolerance
    return float(np.maximum(over.ravel() / np.maximum(moments.size, 1e-12), 0).max())


@dataclass(frozen=True)
class RetentionBound:
    """The largest feasible retention, bracketed.

    Attributes
    ----------
    lower, upper : float
        A retention that is feasible, and a proven bound above which none is.
    multiplier : numpy.ndarray, shape (J,)
        The proof; its largest entries (times the tolerance's slack) are what blocks more retention.
    """

    lower: float
    upper: float
    multiplier: np.ndarray


def largest_retention(moments: Moments, cap: float) -> RetentionBound:
    """Largest eta <= 1 at which all constraints can hold: the linear programme max E[q], |E[q a_j]| <= eps_j E[q].

    Feasible retentions form an interval [0, eta_max], since weights can be scaled down. For any multipliers nu,
    eta_max <= Q E[max(0, 1 + sum_j eps_j |nu_j| - sum_j nu_j a_j)]. Both bounds are capped at 1.
    """
    found = interior_point(moments, moments.utility, cap, None, tolerance=RETENTION_TOLERANCE / 10)
    nu = found.multiplier
    slope = 1.0 + float(moments.tolerance.ravel() @ np.abs(nu)) - moments.combine(nu)
    upper = cap * moments.mean(np.maximum(slope, 0))
    return RetentionBound(min(found.retention, 1.0), min(upper, 1.0), nu)


def _dual_weight(moments: Moments, centre: np.ndarray, cap: float, nu: np.ndarray, mu: float) -> np.ndarray:
    return np.clip(centre - moments.combine(nu) - mu, 0, cap)


def _everything(moments: Moments, cap: float, price: float) -> Weighting:
    """eta = Q leaves one choice: every weight is Q; the multipliers follow in closed form."""
    weight = np.full(len(moments.weight), cap)
    moment = moments.expect(weight)
    violated = np.abs(moment) > cap * moments.tolerance.ravel()
    nu = np.where(violated, np.sign(moment), 0.0) * (price if np.isfinite(price) else 0.0)
    mu = float((cap * moments.utility - moments.combine(nu)).min()) - cap
    return certify(moments, weight, cap, cap, price, nu, mu, 0)
