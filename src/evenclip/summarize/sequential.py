"""Group-sequential looks at a study that grows by seeds: how much of the error rate each look may spend.

Results are looked at after 8, 16 and 24 seeds, say, and a verdict may fall at any look. Each look spends a part of the
error rate, little at first (O'Brien-Fleming type): at the share t of all planned seeds, a one-sided test at level a has
spent 2 - 2 Phi(z(a/2) / sqrt(t)) in all. Number and time of looks need not be fixed beforehand, as long as results do
not decide when one looks. P values are compared with the nominal level of each look.

References: Lan & DeMets 1983 (spending functions); Armitage et al. 1969 (the recursion); Jennison & Turnbull 2000,
sections 4.4 (nominal levels for Student's t), 9.1 (repeated confidence intervals) and 10.3 (conditional power).
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import optimize, special, stats

NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
FARTHEST = 8.5  # standard deviations
LEVELS = stats.norm.sf(np.linspace(-2.4, 8, 45))


def spent(level: float, share: float) -> float:
    """One-sided error rate that a test at ``level`` may have spent when the ``share`` of all seeds is there."""
    return 2 * float(special.ndtr(special.ndtri(level / 2) / math.sqrt(share)))


@cache
def boundaries(shares: tuple[float, ...], level: float) -> tuple[float, ...]:
    """Normal deviates that a one-sided test at ``level`` must reach at each look.

    Parameters
    ----------
    shares : tuple of float
        Share of all planned seeds at each look, rising, in (0, 1].
    level : float
        In (0, 1).
    """
    bounds: list[float] = []
    points, density = np.zeros(1), np.ones(1)  # of the score at the last look, where the test went on; with weights
    last = used = 0.0
    for share in shares:
        step = math.sqrt(share - last)
        rate = max(spent(level, share) - used, 1e-300)

        def crossing(
            z: float, points=points, density=density, step=step, root: float = math.sqrt(share), rate=rate
        ) -> float:
            return math.log(max(float(special.ndtr((points - z * root) / step) @ density), 1e-300)) - math.log(rate)

        bounds.append(optimize.brentq(crossing, -FARTHEST, 20.0, xtol=1e-10))
        low, high = -FARTHEST * math.sqrt(share), bounds[-1] * math.sqrt(share)
        grid, half = (low + high) / 2 + (high - low) / 2 * NODES, (high - low) / 2
        density = half * WEIGHTS * (stats.norm.pdf((grid[:, None] - points) / step) @ density) / step
        points, last, used = grid, share, spent(level, share)
    return tuple(bounds)


def nominal_level(shares: tuple[float, ...], level: float) -> float:
    """One-sided level at the last of these looks, for a test at ``level`` over all looks."""
    return float(stats.norm.sf(boundaries(shares, level)[-1]))


@cache
def _levels_by_bound(shares: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Bounds at the last look, and the deviates of the levels that have them; both rising."""
    return np.array([boundaries(shares, level)[-1] for level in LEVELS]), stats.norm.isf(LEVELS)


def sequential_p(p: Sequence[float], shares: Sequence[float]) -> float:
    """Smallest one-sided level at which one of the looks so far reaches its boundary.

    Parameters
    ----------
    p : sequence of float
        One-sided p value at each look.
    shares : sequence of float
        Share of all planned seeds at each look.

    Returns
    -------
    float
        A valid p value; ``p`` itself where there is one look at all seeds.
    """
    levels = []
    for look, value in enumerate(p, start=1):
        if look == 1:
            levels.append(2 * float(special.ndtr(special.ndtri(min(value, 1.0) / 2) * math.sqrt(shares[0]))))
            continue
        bounds, deviates = _levels_by_bound(tuple(shares[:look]))
        levels.append(float(special.ndtr(-np.interp(-special.ndtri(value), bounds, deviates))))
    return min(levels)


def conditional_power(p: float, share: float, final: float) -> float:
    """Probability that all seeds reach the boundary ``final``, if what is seen so far is the truth.

    Parameters
    ----------
    p : float
        One-sided p value now.
    share : float
        Share of all planned seeds now.
    final : float
        Boundary at the last look.
    """
    z = -float(special.ndtri(min(max(p, 1e-16), 1 - 1e-16)))
    if share >= 1:
        return float(z >= final)
    return float(special.ndtr((z / math.sqrt(share) - final) / math.sqrt(1 - share)))
