"""An iterate of the interior-point method, and directions in which it moves; symbols as in `interior_point`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from evenclip.balance.moments import Moments

_SMALL_RETENTION = 0.01  # errors are relative to larger retentions, and absolute for smaller ones


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
    merit : float
        Largest of relative complementarity and relative violation.
    """

    weight: np.ndarray
    multiplier: np.ndarray
    mean_multiplier: float
    retention: float
    steps: int
    merit: float


@dataclass
class Direction:
    """How far each part of a `State` moves in a step of length 1."""

    q: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lam: np.ndarray
    p: np.ndarray
    z: np.ndarray
    mu: float
    eta: float

    def products(self) -> list[np.ndarray]:
        """Second-order terms of the complementarity products, in the order of `State.products`."""
        return [self.q * self.lower, -self.q * self.upper, self.lam * self.p, -self.lam * self.z]


class State:
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
        """What callers see of the iterate."""
        return Solution(self.q, self.lam[0] - self.lam[1], self.mu, self.eta, steps, self.merit)

    def products(self) -> list[np.ndarray]:
        """Complementarity products of both bounds, of the slacks and, where these have a price, of z; all end at 0."""
        products = [self.q * self.lower, self.room * self.upper, self.lam * self.p]
        return [*products, self.z * self.slope] if self.soft else products

    def goals(self, mean: float) -> list[np.ndarray | float]:
        """What `products` should be for their mean to be ``mean``."""
        return [mean * self.share, mean * self.share, *(2 if self.soft else 1) * [mean * self.slack_share]]

    def complementarity(self) -> float:
        """Mean of the complementarity products."""
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

    def dual_feasible(self) -> Self:
        """Add the dual residual to the bounds' multipliers, so that it does not accumulate rounding errors."""
        if self.free_retention:
            self.mu = -1.0 - float(self.eps @ self.lam.sum(0))
        residual = self._dual_residual()
        self.lower = self.lower + np.maximum(-residual, 0)
        self.upper = self.upper + np.maximum(residual, 0)
        self.__dict__.pop("dual_residual", None)  # of before
        return self

    def slack_residual(self) -> np.ndarray:
        """Shape (2, J): how far the slacks are from what the moments leave of the tolerances."""
        return self.eta * self.eps + self.z - np.array([self.moment, -self.moment]) - self.p

    @cached_property
    def merit(self) -> float:
        """Largest of relative complementarity and relative violation."""
        spread = 0.5 * self.moments.mean((self.q - self.t) ** 2)
        retention = max(self.eta, _SMALL_RETENTION)
        scale = retention if self.free_retention else max(spread, 1e-3 * retention**2)
        violation = np.abs(self.slack_residual() / np.maximum(self.moments.size, 1e-12)).max()
        missed = abs(self.moments.mean(self.q) - self.eta)
        return max(self.complementarity() / scale, float(violation) / retention, missed / retention)

    def largest_steps(self, d: Direction, to_boundary: float) -> tuple[float, float]:
        """Longest primal and dual steps, at most 1, that stay strictly inside the bounds."""
        primal = [(self.q, d.q), (self.room, -d.q), (self.p, d.p)] + ([(self.z, d.z)] if self.soft else [])
        dual = [(self.lower, d.lower), (self.upper, d.upper), (self.lam, d.lam)]
        dual += [(self.slope, -d.lam)] if self.soft else []
        return _longest(primal, to_boundary), _longest(dual, to_boundary)

    def moved(self, d: Direction, primal: float, dual: float) -> Self:
        """The state after steps of these lengths."""
        new = object.__new__(State)
        new.__dict__.update(self.__dict__)
        for name in ("moment", "dual_residual", "merit"):  # of this state alone
            new.__dict__.pop(name, None)
        for names, step in ((("q", "p", "z", "eta"), primal), (("lower", "upper", "lam", "mu"), dual)):
            for name in names:
                setattr(new, name, getattr(self, name) + step * getattr(d, name))
        new.room = self.room - primal * d.q
        new.slope = self.slope - dual * d.lam
        return new


def _longest(pairs: list[tuple[np.ndarray, np.ndarray]], to_boundary: float) -> float:
    fastest = -min(float((change / value).min()) for value, change in pairs)
    return min(1.0, to_boundary / fastest) if fastest > 0 else 1.0
