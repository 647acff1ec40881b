"""Newton's equations of the interior-point method, one unknown per moment; symbols as in `interior_point`."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import linalg

from evenclip.balance.solvers.iterate import Direction, State

_RIDGES = (1e-14, 1e-12, 1e-10)


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


class CondensedSystem:
    """Newton's equations at a state, factorised once and solved for predictor and corrector."""

    def __init__(self, state: State):
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
        self.matrix, self.factor = matrix, _factor(matrix)
        # column and corner of the unknown eta
        self.border = np.append(self.difference * s.eps / self.sum, 1.0)
        self.corner = -float((s.eps**2 * 4.0 / self.gamma.sum(0)).sum())

    @cached_property
    def column(self) -> np.ndarray:
        """Shape (J + 1,): what the border is to the condensed system."""
        return self._solve(self.border, refined=True)

    def _solve(self, right: np.ndarray, refined: bool) -> np.ndarray:
        """Solve the condensed system; refined = once more, against the operators, because the ridge costs digits."""
        x = self._solve_once(right)
        if refined:
            spread = self.d * (self.state.moments.combine(x[:-1]) + x[-1])
            done = np.append(self.state.moments.expect(spread) + x[:-1] / self.sum, self.state.moments.mean(spread))
            x += self._solve_once(right - done)
        return x

    def _solve_once(self, right: np.ndarray) -> np.ndarray:
        return self.scale * linalg.cho_solve(self.factor, self.scale * right, check_finite=False)

    def direction(self, changes: Sequence[np.ndarray], refined: bool = False) -> Direction:
        """Newton direction that changes the complementarity products by ``changes``, to first order.

        Unrefined, it is short of the last digits, and the moments' change is read off the matrix; both cost less.
        """
        s = self.state
        r_lower, r_upper, r_slack, *r_price = changes
        r_price = r_price[0] if s.soft else 0.0
        right = s.dual_residual + r_lower / s.q - r_upper / s.room
        c = s.slack_residual() - r_slack / s.lam + (r_price / s.slope if s.soft else 0.0)
        k1, k2 = c[0] / self.gamma[0] - c[1] / self.gamma[1], (c / self.gamma).sum(0)
        missed = s.eta - s.moments.mean(s.q)
        spread = self.d * right
        expected = s.moments.expect(spread)
        b = np.append(expected - k1 / self.sum, s.moments.mean(spread) - missed)
        x, d_eta = self._bordered(b, k1, k2, refined)
        dq = self.d * (right - s.moments.combine(x[:-1]) - x[-1])
        change = s.moments.expect(dq) if refined else expected - self._expected_of(x)
        d_lam = (np.array([change, -change]) - s.eps * d_eta - c) / self.gamma
        dz = (r_price + s.z * d_lam) / s.slope if s.soft else np.zeros_like(s.z)
        dp = (r_slack - s.p * d_lam) / s.lam
        lower, upper = (r_lower - s.lower * dq) / s.q, (r_upper + s.upper * dq) / s.room
        return Direction(dq, lower, upper, d_lam, dp, dz, float(x[-1]), d_eta)

    def _expected_of(self, x: np.ndarray) -> np.ndarray:
        """Shape (J,): E[d (sum_j x_j a_j + x_mu) a], by the matrix."""
        return ((self.matrix @ (x / self.scale)) / self.scale)[:-1] - x[:-1] / self.sum

    def _bordered(self, b: np.ndarray, k1: np.ndarray, k2: np.ndarray, refined: bool) -> tuple[np.ndarray, float]:
        """Direction of the multipliers, and of the retention if it is free (else 0)."""
        s = self.state
        x = self._solve(b, refined)
        if not s.free_retention:
            return x, 0.0
        residual = -1.0 - s.mu - float(s.eps @ s.lam.sum(0))
        right = residual - float(s.eps @ (self.difference / self.sum * k1 - k2))
        d_eta = (self.border @ x - right) / (self.border @ self.column - self.corner)
        return x - self.column * d_eta, float(d_eta)
