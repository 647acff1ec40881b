"""A primal-dual interior-point method for M4's programme: second order, with cost O(cells) + O(moments^3) a step.

Solves, over weights q of cells (expectations weigh cells by their counts) and, if ``retention`` is None, over eta,

    min  h/2 E[(q - t)^2] - (1 - h) eta + V sum_j z_j
    s.t. |E[q a_j]| <= eta eps_j + z_j,   E[q] = eta,   0 <= q <= Q,   z >= 0       (z = 0 where V is infinite)

with h = 1 (M4) or h = 0 (the largest feasible retention, a linear programme).

Newton's system is condensed to one unknown per moment: the diagonal part (cells and slacks) is eliminated in closed
form. Predictor and corrector follow Mehrotra (SIAM J. Optim. 2(4), 1992). Symbols: nu = multipliers of the moments,
mu = multiplier of the mean, lower/upper = multipliers of 0 <= q <= Q, p and z = slacks, lam = their multipliers.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from evenclip.balance.moments import Moments

MAX_STEPS = 120
_TO_BOUNDARY = 0.995


@dataclass
class Solution:
    """Where the iteration stopped.

    Attributes
    ----------
    weight : numpy.ndarray, shape (n_cells,)
        q, strictly inside (0, Q).
    multiplier : numpy.ndarray, shape (J,)
        nu, the signed multipliers of the moments.
    mean_multiplier : float
        mu, the multiplier of E[q] = eta.
    retention : float
    steps : int
    """

    weight: np.ndarray
    multiplier: np.ndarray
    mean_multiplier: float
    retention: float
    steps: int


def interior_point(
    moments: Moments,
    centre: np.ndarray,
    cap: float,
    retention: float | None,
    price: float = np.inf,
    tolerance: float = 1e-11,
) -> Solution:
    """Solve the programme of the module's docstring.

    Parameters
    ----------
    moments : Moments
    centre : numpy.ndarray, shape (n_cells,)
        t = eta u; ignored where ``retention`` is None.
    cap : float
        Q.
    retention : float or None
        eta in (0, Q); None: maximise it.
    price : float
        V; infinite = hard constraints.
    tolerance : float
        Stop at this mean complementarity (relative to the objective) and residual.
    """
    with np.errstate(all="ignore"):  # the last steps may overflow; the best state is kept and certified by the caller
        return _iterate(_State(moments, centre, cap, retention, price), tolerance)


def _iterate(state: "_State", tolerance: float) -> Solution:
    best, best_merit = state, np.inf
    for step in range(MAX_STEPS):  # noqa: B007
        merit = state.merit()
        if merit < best_merit:
            best, best_merit = state, merit
        if merit <= tolerance or not np.isfinite(merit) or merit > 1e3 * best_merit:
            break
        try:
            system = _NewtonSystem(state)
        except linalg.LinAlgError:  # rounding has eaten the last digits: the best state so far stands
            break
        affine = system.direction(0.0, None)
        reached = state.moved(affine, state.largest_step(affine, 1.0))
        centring = (reached.complementarity() / state.complementarity()) ** 3
        direction = system.direction(centring * state.complementarity(), affine)
        state = state.moved(direction, state.largest_step(direction, _TO_BOUNDARY))
    nu = best.lam[0] - best.lam[1]
    return Solution(best.q, nu, best.mu, best.eta, step)


@dataclass
class _Direction:
    q: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lam: np.ndarray
    p: np.ndarray
    z: np.ndarray
    mu: float
    eta: float


class _State:
    """An iterate; pairs of arrays, shape (2, J), hold both sides of each two-sided constraint."""

    def __init__(self, moments: Moments, centre: np.ndarray, cap: float, retention: float | None, price: float):
        self.moments, self.cap, self.price = moments, cap, price
        self.free_retention = retention is None
        self.h = 0.0 if self.free_retention else 1.0
        self.t = np.zeros(len(moments.weight)) if self.free_retention else centre
        self.eps = moments.tolerance.ravel()
        self.soft = np.isfinite(price)
        self.eta = cap / 2 if retention is None else retention
        self.q = np.full(len(moments.weight), self.eta)
        start = 0.1
        self.room = cap - self.q  # kept apart from q: the difference would lose its digits near the cap
        self.lower, self.upper = start / self.q, start / self.room
        self.share = 1.0 / (2 * len(self.eps))  # weight of one slack in the mean complementarity
        self.moment = moments.expect(self.q)
        gap = self.eta * self.eps - np.array([self.moment, -self.moment])
        size = self.eta * np.maximum(moments.size, 1e-12)
        self.z = np.maximum(-gap, 0) + size if self.soft else np.zeros_like(gap)
        self.p = np.maximum(gap + self.z, 0.1 * size)
        self.lam = np.minimum(start * self.share / self.p, price / 2)
        self.slope = price - self.lam  # likewise kept apart
        self.mu = -1.0 - float(self.eps @ self.lam.sum(0)) if self.free_retention else 0.0

    def complementarity(self) -> float:
        """Mean of the products that vanish at the optimum."""
        cells = self.moments.mean(self.q * self.lower + self.room * self.upper)
        slacks = float((self.lam * self.p).sum())
        if self.soft:
            slacks += float((self.z * self.slope).sum())
        return (cells + slacks) / (4 if self.soft else 3)

    def dual_residual(self) -> np.ndarray:
        nu = self.lam[0] - self.lam[1]
        return -(self.h * (self.q - self.t) + self.moments.combine(nu) + self.mu - self.lower + self.upper)

    def slack_residual(self) -> np.ndarray:
        return self.eta * self.eps + self.z - np.array([self.moment, -self.moment]) - self.p

    def merit(self) -> float:
        """Largest of relative complementarity and residuals."""
        scale = 1.0 if self.free_retention else max(0.5 * self.moments.mean((self.q - self.t) ** 2), 1e-3 * self.eta**2)
        residuals = [
            self.complementarity() / scale,
            abs(self.moments.mean(self.q) - self.eta),
            float(np.abs(self.slack_residual()).max()),
            np.sqrt(self.moments.mean(self.dual_residual() ** 2)),
        ]
        return max(residuals)

    def largest_step(self, d: _Direction, to_boundary: float) -> float:
        pairs = [(self.q, d.q), (self.room, -d.q), (self.lower, d.lower), (self.upper, d.upper)]
        pairs += [(self.lam, d.lam), (self.p, d.p)]
        if self.soft:
            pairs += [(self.z, d.z), (self.slope, -d.lam)]
        step = 1.0 / to_boundary
        for value, change in pairs:
            falling = change < 0
            if falling.any():
                step = min(step, float((-value[falling] / change[falling]).min()))
        return min(1.0, step * to_boundary)

    def moved(self, d: _Direction, step: float) -> "_State":
        new = object.__new__(_State)
        new.__dict__.update(self.__dict__)
        for name in ("q", "lower", "upper", "lam", "p", "z", "mu", "eta"):
            setattr(new, name, getattr(self, name) + step * getattr(d, name))
        new.room = self.room - step * d.q
        new.slope = self.slope - step * d.lam
        new.moment = new.moments.expect(new.q)
        return new


class _NewtonSystem:
    """Newton's equations at a state, factorised once and solved for predictor and corrector."""

    def __init__(self, state: _State):
        s = self.state = state
        self.d = 1.0 / (s.h + s.lower / s.q + s.upper / s.room)
        self.gamma = s.p / s.lam + (s.z / s.slope if s.soft else 0.0)
        inverse = 1.0 / self.gamma
        self.sum, self.difference = inverse.sum(0), inverse[0] - inverse[1]
        n = len(s.eps)
        matrix = np.empty((n + 1, n + 1))
        matrix[:n, :n] = s.moments.gram(self.d)
        matrix[np.arange(n), np.arange(n)] += 1.0 / self.sum
        matrix[:n, n] = matrix[n, :n] = s.moments.expect(self.d)
        matrix[n, n] = s.moments.mean(self.d)
        scale = 1.0 / np.sqrt(np.diag(matrix))
        matrix *= scale[:, None] * scale
        matrix[np.arange(n + 1), np.arange(n + 1)] += 1e-14
        self.scale = scale
        self.factor = linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        # column and corner of the unknown eta
        self.border = np.append(self.difference * s.eps / self.sum, 1.0)
        self.corner = -float((s.eps**2 * 4.0 / self.gamma.sum(0)).sum())

    def _solve(self, right: np.ndarray) -> np.ndarray:
        return self.scale * linalg.cho_solve(self.factor, self.scale * right, check_finite=False)

    def direction(self, goal: float, affine: _Direction | None) -> _Direction:
        """Newton direction towards products equal to ``goal``; ``affine`` adds Mehrotra's second-order terms."""
        s = self.state
        r_lower, r_upper = goal - s.q * s.lower, goal - s.room * s.upper
        r_slack = goal * s.share - s.lam * s.p
        r_price = goal * s.share - s.z * s.slope if s.soft else 0.0
        if affine is not None:
            r_lower = r_lower - affine.q * affine.lower
            r_upper = r_upper + affine.q * affine.upper
            r_slack = r_slack - affine.lam * affine.p
            r_price = r_price + affine.z * affine.lam if s.soft else 0.0
        right = s.dual_residual() + r_lower / s.q - r_upper / s.room
        c = s.slack_residual() - r_slack / s.lam + (r_price / s.slope if s.soft else 0.0)
        k1, k2 = c[0] / self.gamma[0] - c[1] / self.gamma[1], (c / self.gamma).sum(0)
        mean_residual = s.eta - s.moments.mean(s.q)
        b = np.append(s.moments.expect(self.d * right) - k1 / self.sum, s.moments.mean(self.d * right) - mean_residual)
        x, d_eta = self._bordered(b, k1, k2)
        d_nu, d_mu = x[:-1], x[-1]
        dq = self.d * (right - s.moments.combine(d_nu) - d_mu)
        change = s.moments.expect(dq)
        d_lam = (np.array([change, -change]) - s.eps * d_eta - c) / self.gamma
        dz = (r_price + s.z * d_lam) / s.slope if s.soft else np.zeros_like(s.z)
        dp = (r_slack - s.p * d_lam) / s.lam
        lower, upper = (r_lower - s.lower * dq) / s.q, (r_upper + s.upper * dq) / s.room
        return _Direction(dq, lower, upper, d_lam, dp, dz, float(d_mu), d_eta)

    def _bordered(self, b: np.ndarray, k1: np.ndarray, k2: np.ndarray) -> tuple[np.ndarray, float]:
        s = self.state
        x = self._solve(b)
        if not s.free_retention:
            return x, 0.0
        residual = -1.0 - s.mu - float(s.eps @ s.lam.sum(0))
        right = residual - float(s.eps @ (self.difference / self.sum * k1 - k2))
        column = self._solve(self.border)
        d_eta = (self.border @ x - right) / (self.border @ column - self.corner)
        return x - column * d_eta, float(d_eta)
