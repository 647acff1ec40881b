"""A primal-dual interior-point method for M4's programme: second order, with cost O(cells) + O(moments^3) a step.

Solves, over weights q of cells (expectations weigh cells by their counts) and, if ``retention`` is None, over eta,

    min  h/2 E[(q - t)^2] - (1 - h) eta + V sum_j z_j
    s.t. |E[q a_j]| <= eta eps_j + z_j,   E[q] = eta,   0 <= q <= Q,   z >= 0       (z = 0 where V is infinite)

with h = 1 (M4) or h = 0 (the largest feasible retention, a linear programme).

Newton's system is condensed to one unknown per moment: the diagonal part (cells and slacks) is eliminated in closed
form. Predictor and corrector follow Mehrotra (SIAM J. Optim. 2(4), 1992). Symbols: nu = multipliers of the moments,
mu = multiplier of the mean, lower/upper = multipliers of 0 <= q <= Q, p and z = slacks, lam = their multipliers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from evenclip.balance.moments import Moments

MAX_STEPS = 150
REFINEMENTS = 1
_RIDGES = (1e-14, 1e-12, 1e-10)
_SMALL_RETENTION = 0.01  # errors are relative to larger retentions, and absolute for smaller ones
_TO_BOUNDARY = 0.99
_LEAST_CENTRING = 0.05  # with less centring, steps stall if many small cells reach a bound at once
_GIVEN_UP = 1e6  # stop, because of rounding errors, if the merit is this many times the best


@dataclass
class Solution:
    """An iterate.

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
        Newton steps taken so far.
    """

    weight: np.ndarray
    multiplier: np.ndarray
    mean_multiplier: float
    retention: float
    steps: int


def interior_point(
    moments: Moments,
    cap: float,
    retention: float | None,
    price: float = np.inf,
    tolerances: Sequence[float] = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10),
    stop: Callable[[Solution], bool] = lambda solution: False,
) -> Iterator[Solution]:
    """Solve the programme of the module's docstring with t = eta u; yield the best iterate at each tolerance.

    Parameters
    ----------
    moments : Moments
    cap : float
        Q.
    retention : float or None
        eta in (0, Q); None: maximise it.
    price : float
        V; infinite = hard constraints.
    tolerances : sequence of float
        In decreasing order; for the mean complementarity, relative to the objective, and for the violation of the
        constraints. The last iterate yielded is the best one, even if it does not reach the last tolerance.
    stop : callable
        Called with each iterate; true = stop.
    """
    with np.errstate(all="ignore"):  # the last steps may overflow: the best iterate is kept, and callers certify it
        yield from _iterate(_State(moments, cap, retention, price), list(tolerances), stop)


def _iterate(state: "_State", tolerances: list[float], stop: Callable[[Solution], bool]) -> Iterator[Solution]:
    best, best_merit = state, np.inf
    for step in range(MAX_STEPS):
        merit = state.merit()
        if merit < best_merit:
            best, best_merit = state, merit
        while tolerances and best_merit <= tolerances[0]:
            tolerances.pop(0)
            if not tolerances or best_merit > tolerances[0]:
                yield best.solution(step)
        if not tolerances:
            return
        if not np.isfinite(merit) or merit > _GIVEN_UP * best_merit or stop(state.solution(step)):
            break
        try:
            state = _next(state)
        except linalg.LinAlgError:
            break
    yield best.solution(step)


def _next(state: "_State") -> "_State":
    """One predictor-corrector step; predictor and corrector share a factorisation."""
    system = _NewtonSystem(state)
    affine = system.direction(0.0, None)
    length = min(state.largest_steps(affine, 1.0))
    reached = state.moved(affine, length, length).complementarity() / state.complementarity()
    centring = max(reached**3, _LEAST_CENTRING)
    # a short predictor step says little about the curvature ahead: its second-order terms are scaled by its length
    direction = system.direction(centring * state.complementarity(), affine.scaled(length))
    primal, dual = state.largest_steps(direction, _TO_BOUNDARY)
    if state.h:  # the objective couples primal and dual; in a linear programme their steps differ
        primal = dual = min(primal, dual)
    return state.moved(direction, primal, dual).dual_feasible()


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

    def scaled(self, factor: float) -> "_Direction":
        return _Direction(**{name: factor * value for name, value in self.__dict__.items()})


class _State:
    """An iterate; arrays of shape (2, J) hold both sides of each two-sided constraint."""

    def __init__(self, moments: Moments, cap: float, retention: float | None, price: float):
        self.moments, self.price = moments, price
        self.free_retention = retention is None
        self.h = 0.0 if self.free_retention else 1.0
        self.eta = cap / 2 if retention is None else retention
        self.t = self.eta * moments.utility
        self.eps = moments.tolerance
        self.soft = np.isfinite(price)
        self.q = np.full(len(moments.weight), self.eta)
        self.room = cap - self.q  # Q - q, stored separately: the difference would lose digits near the cap
        # weights of the barrier: between one per row (large cells count more) and one per cell
        self.share = 1.0 / np.sqrt(moments.weight)
        self.share /= moments.mean(self.share)
        self.slack_share = 1.0 / (2 * len(self.eps))
        start = 0.1
        self.lower, self.upper = start * self.share / self.q, start * self.share / self.room
        gap = self.eta * self.eps - np.array([self.moment, -self.moment])
        size = self.eta * np.maximum(moments.size, 1e-12)
        self.z = np.maximum(-gap, 0) + size if self.soft else np.zeros_like(gap)
        self.p = np.maximum(gap + self.z, 0.1 * size)
        self.lam = np.minimum(start * self.slack_share / self.p, price / 2)
        self.slope = price - self.lam  # V - lam, stored separately for the same reason
        self.mu = 0.0
        self.dual_feasible()

    def solution(self, steps: int) -> Solution:
        return Solution(self.q, self.lam[0] - self.lam[1], self.mu, self.eta, steps)

    def complementarity(self) -> float:
        """Mean of the complementarity products, which are 0 at the optimum."""
        cells = self.moments.mean(self.q * self.lower + self.room * self.upper)
        slacks = float((self.lam * self.p).sum())
        if self.soft:
            slacks += float((self.z * self.slope).sum())
        return (cells + slacks) / (4 if self.soft else 3)

    @cached_property
    def moment(self) -> np.ndarray:
        """Shape (J,): E[q a]."""
        return self.moments.expect(self.q)

    @cached_property
    def dual_residual(self) -> np.ndarray:
        """Shape (n_cells,): how far the multipliers are from feasible, by rounding alone."""
        return self._dual_residual()

    def _dual_residual(self) -> np.ndarray:
        nu = self.lam[0] - self.lam[1]
        return -(self.h * (self.q - self.t) + self.moments.combine(nu) + self.mu - self.lower + self.upper)

    def dual_feasible(self) -> "_State":
        """Add the dual residual to the bounds' multipliers, so that it does not accumulate rounding errors."""
        if self.free_retention:
            self.mu = -1.0 - float(self.eps @ self.lam.sum(0))
        residual = self._dual_residual()
        self.lower = self.lower + np.maximum(-residual, 0)
        self.upper = self.upper + np.maximum(residual, 0)
        self.__dict__.pop("dual_residual", None)  # of before
        return self

    def slack_residual(self) -> np.ndarray:
        return self.eta * self.eps + self.z - np.array([self.moment, -self.moment]) - self.p

    def merit(self) -> float:
        """Largest of relative complementarity and relative violation."""
        spread = 0.5 * self.moments.mean((self.q - self.t) ** 2)
        retention = max(self.eta, _SMALL_RETENTION)
        scale = retention if self.free_retention else max(spread, 1e-3 * retention**2)
        violation = np.abs(self.slack_residual() / np.maximum(self.moments.size, 1e-12)).max()
        missed = abs(self.moments.mean(self.q) - self.eta)
        return max(self.complementarity() / scale, float(violation) / retention, missed / retention)

    def largest_steps(self, d: _Direction, to_boundary: float) -> tuple[float, float]:
        """Longest primal and dual steps, at most 1, that stay strictly inside the bounds."""
        primal = [(self.q, d.q), (self.room, -d.q), (self.p, d.p)] + ([(self.z, d.z)] if self.soft else [])
        dual = [(self.lower, d.lower), (self.upper, d.upper), (self.lam, d.lam)]
        dual += [(self.slope, -d.lam)] if self.soft else []
        return _longest(primal, to_boundary), _longest(dual, to_boundary)

    def moved(self, d: _Direction, primal: float, dual: float) -> "_State":
        new = object.__new__(_State)
        new.__dict__.update(self.__dict__)
        for name in ("moment", "dual_residual"):  # of this state alone
            new.__dict__.pop(name, None)
        for names, step in ((("q", "p", "z", "eta"), primal), (("lower", "upper", "lam", "mu"), dual)):
            for name in names:
                setattr(new, name, getattr(self, name) + step * getattr(d, name))
        new.room = self.room - primal * d.q
        new.slope = self.slope - dual * d.lam
        return new


def _longest(pairs: list[tuple[np.ndarray, np.ndarray]], to_boundary: float) -> float:
    step = 1.0
    for value, change in pairs:
        falling = change < 0
        if falling.any():
            step = min(step, to_boundary * float((-value[falling] / change[falling]).min()))
    return step


def _factor(matrix: np.ndarray) -> tuple:
    """Cholesky factors of a matrix with unit diagonal, with the smallest ridge that rounding errors allow."""
    for ridge in _RIDGES:
        try:
            raised = matrix.copy(order="F")  # as LAPACK wants it, which then needs no other copy
            raised[np.diag_indices_from(raised)] += ridge
            return linalg.cho_factor(raised, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            continue
    raise linalg.LinAlgError("the condensed system is not positive definite")


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
        self.scale = 1.0 / np.sqrt(np.diag(matrix))
        matrix *= self.scale[:, None] * self.scale
        self.factor = _factor(matrix)
        # column and corner of the unknown eta
        self.border = np.append(self.difference * s.eps / self.sum, 1.0)
        self.corner = -float((s.eps**2 * 4.0 / self.gamma.sum(0)).sum())

    def _solve(self, right: np.ndarray) -> np.ndarray:
        """Solve the condensed system, refined against the operators, because the ridge costs digits."""
        x = self._solve_once(right)
        for _ in range(REFINEMENTS):
            spread = self.d * (self.state.moments.combine(x[:-1]) + x[-1])
            done = np.append(self.state.moments.expect(spread) + x[:-1] / self.sum, self.state.moments.mean(spread))
            x += self._solve_once(right - done)
        return x

    def _solve_once(self, right: np.ndarray) -> np.ndarray:
        return self.scale * linalg.cho_solve(self.factor, self.scale * right, check_finite=False)

    def direction(self, goal: float, affine: _Direction | None) -> _Direction:
        """Newton direction towards products of ``goal``; ``affine`` adds Mehrotra's second-order terms."""
        s = self.state
        r_lower, r_upper = goal * s.share - s.q * s.lower, goal * s.share - s.room * s.upper
        r_slack = goal * s.slack_share - s.lam * s.p
        r_price = goal * s.slack_share - s.z * s.slope if s.soft else 0.0
        if affine is not None:
            r_lower = r_lower - affine.q * affine.lower
            r_upper = r_upper + affine.q * affine.upper
            r_slack = r_slack - affine.lam * affine.p
            r_price = r_price + affine.z * affine.lam if s.soft else 0.0
        right = s.dual_residual + r_lower / s.q - r_upper / s.room
        c = s.slack_residual() - r_slack / s.lam + (r_price / s.slope if s.soft else 0.0)
        k1, k2 = c[0] / self.gamma[0] - c[1] / self.gamma[1], (c / self.gamma).sum(0)
        missed = s.eta - s.moments.mean(s.q)
        b = np.append(s.moments.expect(self.d * right) - k1 / self.sum, s.moments.mean(self.d * right) - missed)
        x, d_eta = self._bordered(b, k1, k2)
        dq = self.d * (right - s.moments.combine(x[:-1]) - x[-1])
        change = s.moments.expect(dq)
        d_lam = (np.array([change, -change]) - s.eps * d_eta - c) / self.gamma
        dz = (r_price + s.z * d_lam) / s.slope if s.soft else np.zeros_like(s.z)
        dp = (r_slack - s.p * d_lam) / s.lam
        lower, upper = (r_lower - s.lower * dq) / s.q, (r_upper + s.upper * dq) / s.room
        return _Direction(dq, lower, upper, d_lam, dp, dz, float(x[-1]), d_eta)

    def _bordered(self, b: np.ndarray, k1: np.ndarray, k2: np.ndarray) -> tuple[np.ndarray, float]:
        """Direction of the multipliers, and of the retention if it is free (else 0)."""
        s = self.state
        x = self._solve(b)
        if not s.free_retention:
            return x, 0.0
        residual = -1.0 - s.mu - float(s.eps @ s.lam.sum(0))
        right = residual - float(s.eps @ (self.difference / self.sum * k1 - k2))
        column = self._solve(self.border)
        d_eta = (self.border @ x - right) / (self.border @ column - self.corner)
        return x - column * d_eta, float(d_eta)
