"""The one rule for ties and for chance: ties are broken at random, and the expected value is reported."""

import numpy as np


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
    for place in range(k):
        missed = np.maximum(tied - place, 0) / np.maximum(own + tied - place, 1)
        miss = np.where(ahead + place < k, miss * missed, miss)
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
