"""Wilson's interval of a share, the only one in the package."""

import numpy as np
from scipy.special import ndtri

Z = float(ndtri(0.975))


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    scipy's `binomtest(k, n).proportion_ci(method="wilson")` is the same but takes whole numbers only; classes that tie
    for the best prediction count in parts, so that a share of hits need not be k / n.

    Parameters
    ----------
    share : float
        In [0, 1].
    n : int
        Number of independent examples, at least 1.

    Returns
    -------
    tuple of two float
        Lower and upper end, in [0, 1].

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    centre, scale = share + Z**2 / (2 * n), 1 + Z**2 / n
    half = Z * np.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
    low, high = (float(np.clip((centre + side * half) / scale, 0, 1)) for side in (-1, 1))
    return low, high
