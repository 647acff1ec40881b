"""Label noise on purpose: how far do results move when some perceived attributes are wrong?"""

import numpy as np


def flip(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Give ``share`` of the rows with exactly one value another one.

    Parameters
    ----------
    labels : ndarray of bool, shape (n, k)
        The k values of one attribute.
    share : float
        In [0, 1]; the number of rows is rounded, and drawn without replacement.

    Returns
    -------
    ndarray of bool, shape (n, k)
        A copy; the new value is drawn uniformly from the k - 1 others. Unchanged if k = 1.
    """
    flipped = labels.copy()
    n_values = labels.shape[1]
    if n_values < 2:
        return flipped
    single = np.flatnonzero(labels.sum(axis=1) == 1)
    rows = rng.choice(single, size=round(share * len(single)), replace=False)
    values = (labels[rows].argmax(axis=1) + rng.integers(1, n_values, size=len(rows))) % n_values
    flipped[rows] = False
    flipped[rows, values] = True
    return flipped
