"""M4 solved exactly (paper: M4, ICLR 2024, section 3): weights with a certificate.

Primal, over weights q of cells:  min 1/2 E[(q - eta u)^2] + V sum_j max(0, |E[q a_j]| - eta eps_j)
s.t. E[q] = eta, 0 <= q <= Q. Its dual maximises, over |lambda_j| <= V and mu,
D = E[1/2 (q - eta u)^2 + (sum_j lambda_j a_j + mu) q] - eta mu - eta sum_j eps_j |lambda_j|
with q = clip(eta u - sum_j lambda_j a_j - mu, 0, Q). Any multipliers bound the optimum from below, so
(primal - D) / primal certifies the weights regardless of how they were found.

The result is exact if all rows of a cell have the same utility, which is always so without a utility column. Otherwise
rows get the weight of their bin's mean utility. Because q is a projection of eta u, and projections do not increase
distances, the weights are then off by at most eta / 2^(utility_bits + 1) in root mean square. The constraints hold in
both cases.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError

from evenclip.balance.moments import Moments
from evenclip.balance.solvers.interior_point import Solution, interior_point
from evenclip.balance.solvers.largest_retention import retention_bound
from evenclip.balance.solvers.newton import newton_steps

FEASIBLE_RESIDUAL = 1e-7  # a constraint counts as met up to this violation, relative to the moment's size
GAP_TOLERANCE = 1e-8
ERROR_FLOOR = 1e-11  # what can be expected of double precision
MAX_FINISHING_STEPS = 8
PENALTY = 100.0  # default V if constraints cannot hold
_SCALE_FLOOR = 1e-3  # gaps are relative to max(primal, _SCALE_FLOOR * eta^2), since the primal of balanced data is 0


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
        Primal value (with penalties, if any), and the lower bound that the multipliers prove.
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


def solve(
    moments: Moments, retention: float, cap: float, price: float = np.inf, start: Weighting | None = None
) -> Weighting:
    """Solve M4 at a given retention.

    Parameters
    ----------
    moments : Moments
    retention : float
        eta in (0, Q]; with hard constraints it must be feasible: see `largest_retention`.
    cap : float
        Q.
    price : float
        V; infinite = hard constraints.
    start : Weighting, optional
        Solution of a similar problem with the same moments; if close enough, the interior-point method is skipped.
    """
    if retention >= cap * (1 - 1e-9):
        return _everything(moments, cap, price)
    problem = _Problem(moments, retention, cap, price)
    if start is not None:
        warm = problem.finish(start.multiplier, start.mean_multiplier, start.steps)
        if problem.error(warm) <= GAP_TOLERANCE:
            return warm
    best = None
    for solution in interior_point(moments, cap, retention, price, stop=problem.proved_infeasible):
        interior = problem.certify(solution.weight, solution.multiplier, solution.mean_multiplier, solution.steps)
        implied = problem.finish(solution.multiplier, solution.mean_multiplier, solution.steps)
        best = min((w for w in (implied, interior, best) if w is not None), key=problem.error)
        if problem.error(best) <= ERROR_FLOOR:
            break
    return best


def certify_multipliers(
    moments: Moments, retention: float, cap: float, price: float, multiplier: np.ndarray, mean_multiplier: float
) -> Weighting:
    """The weights that multipliers imply, with their certificate, regardless of how the multipliers were found."""
    problem = _Problem(moments, retention, cap, price)
    return problem.certify(problem.implied(multiplier, mean_multiplier), multiplier, mean_multiplier, 0)


@dataclass(frozen=True)
class _Problem:
    moments: Moments
    retention: float
    cap: float
    price: float

    def implied(self, multiplier: np.ndarray, mean_multiplier: float) -> np.ndarray:
        """The weights that minimise the Lagrangian."""
        pull = self.moments.combine(multiplier) + mean_multiplier
        return np.clip(self.retention * self.moments.utility - pull, 0, self.cap)

    def certify(self, weight: np.ndarray, multiplier: np.ndarray, mean_multiplier: float, steps: int) -> Weighting:
        """Primal value of ``weight``, the dual bound of the multipliers, and the gap between them."""
        moments, price = self.moments, self.price
        centre, eps = self.retention * moments.utility, self.retention * moments.tolerance
        multiplier = np.clip(multiplier, -price, price)
        primal = 0.5 * moments.mean((weight - centre) ** 2)
        if np.isfinite(price):
            primal += price * float(np.maximum(np.abs(moments.expect(weight)) - eps, 0).sum())
        q = self.implied(multiplier, mean_multiplier)
        pull = moments.combine(multiplier) + mean_multiplier
        dual = moments.mean(0.5 * (q - centre) ** 2 + pull * q)
        dual -= self.retention * mean_multiplier + float(eps @ np.abs(multiplier))
        gap = (primal - dual) / max(primal, _SCALE_FLOOR * self.retention**2)
        return Weighting(weight, self.retention, primal, dual, gap, multiplier, mean_multiplier, steps)

    def proved_infeasible(self, solution: Solution) -> bool:
        """Whether the rescaled multipliers of an iterate prove that this retention exceeds the largest feasible one."""
        if np.isfinite(self.price):
            return False
        nu = solution.multiplier
        scale = -solution.mean_multiplier - float(self.moments.tolerance @ np.abs(nu))
        return scale > 0 and retention_bound(self.moments, self.cap, nu / scale) < self.retention * (1 - 1e-9)

    def error(self, weighting: Weighting) -> float:
        """Largest of gap, error of the mean and (with hard constraints) violation; infinite if it is NaN."""
        missed = abs(self.moments.mean(weighting.weight) - self.retention)
        violation = 0.0 if np.isfinite(self.price) else excess(self.moments, weighting)
        worst = max(abs(weighting.relative_gap), missed, violation)
        return worst if np.isfinite(worst) else np.inf

    def finish(self, multiplier: np.ndarray, mean_multiplier: float, steps: int) -> Weighting:
        """The best weights among those that the multipliers imply, before and after a few Newton steps."""
        best = self.certify(self.implied(multiplier, mean_multiplier), multiplier, mean_multiplier, steps)
        centre = self.retention * self.moments.utility
        proposals = newton_steps(
            self.moments, centre, self.cap, self.retention, self.price, multiplier, mean_multiplier
        )
        for _ in range(MAX_FINISHING_STEPS):
            if self.error(best) <= ERROR_FLOOR:
                break
            try:
                nu, mu = next(proposals)
            except LinAlgError:  # no cell is strictly between 0 and Q, so the multipliers are not determined
                break
            steps += 1
            better = self.certify(self.implied(nu, mu), nu, mu, steps)
            if self.error(better) < self.error(best):
                best = better
        return best


def excess(moments: Moments, weighting: Weighting) -> float:
    """Largest violation of a constraint, relative to its moment's root mean square; 0 = all hold."""
    over = moments.residual(weighting.weight, weighting.retention) - moments.tolerance
    return float(np.maximum(over / np.maximum(moments.size, 1e-12), 0).max())


def _everything(moments: Moments, cap: float, price: float) -> Weighting:
    """The only solution for eta = Q: every weight is Q, with multipliers in closed form."""
    weight = np.full(len(moments.weight), cap)
    moment = moments.expect(weight)
    violated = np.abs(moment) > cap * moments.tolerance
    nu = np.where(violated, np.sign(moment), 0.0) * (price if np.isfinite(price) else 0.0)
    mu = float((cap * moments.utility - moments.combine(nu)).min()) - cap
    return _Problem(moments, cap, cap, price).certify(weight, nu, mu, 0)
