"""Semismooth Newton on M4's dual: from good multipliers to exact ones in a few steps.

The dual's gradient is piecewise linear, so once the right cells are strictly between 0 and Q, and the right moments
are at their tolerance, one step lands on the optimum to the last digits. It has no safeguards of its own: callers
certify what it yields. It finishes what the interior-point method began, or starts from the multipliers of a similar
problem.
"""

from collections.abc import Iterator

import numpy as np
from scipy import linalg

from evenclip.balance.moments import Moments

_NO_CURVATURE = 1e-12
_RIDGE = 1e-13  # of each diagonal element: dependent moments have many equally good multipliers


def newton_steps(
    moments: Moments, centre: np.ndarray, cap: float, retention: float, price: float, nu: np.ndarray, mu: float
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield improved (multipliers of the moments, multiplier of the mean), without end; see `exact` for the symbols."""
    limit = retention * moments.tolerance
    step = 1.0 / np.maximum(moments.size, 1e-12) ** 2
    while True:
        theta = centre - moments.combine(nu) - mu
        weight = np.clip(theta, 0, cap)
        moment = moments.expect(weight)
        # the optimum is the fixed point of a proximal step, which shows the moments at their tolerance or at the price
        towards = nu + step * moment
        side = np.sign(towards) * (np.abs(towards) > step * limit)
        priced = np.abs(towards) - step * limit >= price
        at = np.flatnonzero((side != 0) & ~priced)
        goal = np.zeros_like(nu)
        goal[priced] = side[priced] * price
        goal[at] = nu[at]
        nu = goal
        inside = ((theta > 0) & (theta < cap)).astype(float)
        weight = np.clip(centre - moments.combine(nu) - mu, 0, cap)
        residual = np.append(moments.expect(weight)[at] - side[at] * limit[at], moments.mean(weight) - retention)
        change = _solve(moments, inside, at, residual)
        nu[at] += change[:-1]
        mu += change[-1]
        yield nu.copy(), float(mu)


def _solve(moments: Moments, inside: np.ndarray, at: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Solve Newton's system for the moments ``at`` their tolerance and the mean."""
    matrix = np.empty((len(at) + 1, len(at) + 1))
    matrix[:-1, :-1] = moments.gram(inside)[np.ix_(at, at)]
    matrix[:-1, -1] = matrix[-1, :-1] = moments.expect(inside)[at]
    matrix[-1, -1] = moments.mean(inside)
    floor = _NO_CURVATURE * np.append(moments.size[at] ** 2, 1.0)  # for moments whose cells are all at 0 or Q
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), floor))
    matrix *= scale[:, None] * scale
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    factor = linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
    return scale * linalg.cho_solve(factor, scale * residual, check_finite=False)
