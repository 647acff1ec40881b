"""Intervals of plain shares of independent examples: Wilson's.

A bootstrap of a share that is 0 or 1 in the sample has no width, and of a rare share it is too short; Wilson's interval
covers there too. Reference: Wilson 1927, Journal of the American Statistical Association 22(158), 209-212.
"""

import numpy as np
from scipy.special import ndtri

from evenclip.records import MetricRow


def share_row(
    metric: str, hits: np.ndarray, group: str = "", random: float | None = None, independent: int | None = None
) -> MetricRow:
    """The mean of ``hits`` with Wilson's 95 % interval.

    Parameters
    ----------
    metric : str
    hits : ndarray, shape (n,)
        In [0, 1]; values between (ties) vary less than Wilson's interval supposes, which is then wide.
    group : str
    random : float, optional
    independent : int, optional
        Number of independent examples; default n.
    """
    n, z = independent or len(hits), float(ndtri(0.975))
    share = float(np.mean(hits, dtype=float))
    centre, scale = (share + z**2 / (2 * n)), 1 + z**2 / n
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = (float(np.clip((centre + side * half) / scale, 0, 1)) for side in (-1, 1))
    return MetricRow(metric, share, min(low, share), max(high, share), len(hits), group, random)
