"""The one rule for ties and for chance: ties are broken at random, and the expected value is reported."""

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.tables import MetricRow


def hit_probability(k: int, ahead: np.ndarray, own: np.ndarray | int, tied: np.ndarray | int) -> np.ndarray:
    """Probability that one of ``own`` right candidates is among the first k, when ties are broken at random.

    Without ties this is 1 where fewer than k candidates are ahead, else 0. A model that gives every candidate the same
    score (a collapsed one) gets the chance level, and so ``hit_probability(k, 0, own, n - own)`` IS the chance level:
    with r = k - ahead open places, 1 - C(tied, r) / C(own + tied, r) (hypergeometric).

    Parameters
    ----------
    k : int
        Places, at least 1.
    ahead : ndarray of int
        Number of wrong candidates with a higher score than the best right one.
    own : ndarray of int
        Number of right candidates with that best score, at least 1.
    tied : ndarray of int
        Number of wrong candidates with exactly that score.

    Returns
    -------
    ndarray of float in [0, 1], in the broadcast shape.
    """
    ahead, own, tied = np.broadcast_arrays(ahead, own, tied)
    miss = np.ones(ahead.shape)
    for drawn in range(k):
        missed = np.maximum(tied - drawn, 0) / np.maximum(own + tied - drawn, 1)
        miss = np.where(ahead + drawn < k, miss * missed, miss)
    return 1 - miss


def top_k_hits(k: int, scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`hit_probability` of the right column of each row.

    Parameters
    ----------
    k : int
    scores : ndarray, shape (n, n_classes)
    right : ndarray of int, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
    """
    best = scores[np.arange(len(scores)), right][:, None]
    return hit_probability(k, (scores > best).sum(axis=1), 1, (scores == best).sum(axis=1) - 1)


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
