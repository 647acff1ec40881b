"""Mean per-class recall with its interval, for zero-shot heads and for probes."""

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.records import MetricRow

SMALLEST_STRATUM = 5  # a resample of one example is that example: strata of few give intervals that are too short


def mean_recall_row(metric: str, hits: np.ndarray, codes: np.ndarray, bootstrap: Bootstrap, random: float) -> MetricRow:
    """Mean over the classes that have images of the share that is right.

    The bootstrap is stratified by class. Where a class has fewer than `SMALLEST_STRATUM` images it is over all images
    instead, each weighing 1 / (size of its class), and so says how the mean varies over classes too.

    Parameters
    ----------
    metric : str
    hits : ndarray, shape (n,)
        In [0, 1].
    codes : ndarray of int, shape (n,)
        Class of each image.
    bootstrap : Bootstrap
    random : float
    """
    _, strata, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    if sizes.min() >= SMALLEST_STRATUM:
        means = bootstrap.means(hits[:, None], strata)
        return means.row(metric, lambda m: m[..., 0].mean(axis=-1), len(hits), random=random)
    weights = 1 / sizes[strata]
    means = bootstrap.means(np.stack([hits * weights, weights], axis=1))
    return means.row(metric, lambda m: m[..., 0, 0] / m[..., 0, 1], len(hits), random=random)
