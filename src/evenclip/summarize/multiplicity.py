"""Adjustment for many claims: family-wise error (Holm) and false discovery rate (Benjamini-Hochberg).

References: Holm 1979; Benjamini & Hochberg 1995; Benjamini & Yekutieli 2005 (the level of intervals).
"""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p values by Holm's step-down method, in the given order."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(p), 0, -1) * np.asarray(p)[order]))
    return adjusted.tolist()


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjust p values by the step-up method of Benjamini and Hochberg, in the given order."""
    order = np.argsort(p, kind="stable")[::-1]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.minimum.accumulate(len(p) / np.arange(len(p), 0, -1) * np.asarray(p)[order]))
    return adjusted.tolist()


def holm_levels(p: Sequence[float], level: float) -> list[float]:
    """Level at which Holm's method compares each p: what is rejected is what is at most its own level."""
    n, rejected = len(p), sum(value <= level for value in holm(p))
    ranks = np.argsort(np.argsort(p, kind="stable"))
    return [level / (n - min(int(rank), rejected)) for rank in ranks]


def benjamini_hochberg_levels(p: Sequence[float], level: float) -> list[float]:
    """Level at which the method of Benjamini and Hochberg compares every p; that of intervals of what is rejected."""
    rejected = sum(value <= level for value in benjamini_hochberg(p))
    return [max(rejected, 1) / len(p) * level] * len(p)
