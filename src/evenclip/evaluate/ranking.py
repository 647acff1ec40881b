"""Ranks, hits and ties: who is among the first k, in the sample, in resamples and by chance.

One rule for ties everywhere: they are broken at random. A hit is the expected value over all ways to break them;
`Rankings` break them once, by the seed.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, permutations
from evenclip.tables import MetricRow

SMALLEST_STRATUM = 5  # a resample of one example is that example: tiny strata give intervals that are too short


def hit_probability(k: int, ahead: np.ndarray, own: np.ndarray | int, tied: np.ndarray | int) -> np.ndarray:
    """Probability that a correct candidate is among the first k, with ties broken at random.

    With r = k - ahead free places it is 1 - C(tied, r) / C(own + tied, r) (hypergeometric). Without ties it is 1 if
    fewer than k candidates are ahead, otherwise 0. A collapsed model, which gives every candidate the same score, gets
    the chance level ``hit_probability(k, 0, own, n - own)``.

    Parameters
    ----------
    k : int
        Number of places, at least 1.
    ahead : ndarray of int
        Number of wrong candidates with a higher score than the best correct one.
    own : ndarray of int
        Number of correct candidates with that best score, at least 1.
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
    """`hit_probability` of the correct class in each row of scores.

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


def mean_recall_row(metric: str, hits: np.ndarray, codes: np.ndarray, bootstrap: Bootstrap, random: float) -> MetricRow:
    """Row of the mean per-class recall over the classes that have images.

    The bootstrap is stratified by class. If a class has fewer than `SMALLEST_STRATUM` images, all images are resampled
    together, each weighted by 1 / (size of its class); the interval then includes the variation over classes.

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


@dataclass(frozen=True)
class Rankings:
    """Rankings of n examples, one per label.

    ``orders`` (n_labels, n): examples from first to last, ties in random order; ``codes`` (n,): group of each example,
    0 ... n_groups - 1; ``k``: number of top examples used.
    """

    orders: np.ndarray
    codes: np.ndarray
    n_groups: int
    k: int

    @classmethod
    def of(cls, similarity: np.ndarray, codes: np.ndarray, n_groups: int, k: int, where: str, seed: int) -> "Rankings":
        """Rank by ``similarity``, shape (n, n_labels); `InputError` if there are fewer than ``k`` examples.

        Ties are broken at random, because sets are often sorted by group: a collapsed model would look biased.
        """
        if len(codes) < k:
            raise InputError(f"{len(codes)} images are fewer than the {k} ranked first", where, "lower k or add images")
        chance = np.random.default_rng([seed, *similarity.shape]).random(similarity.shape)
        return cls(np.lexsort((chance, -similarity), axis=0).T, codes, n_groups, k)

    def shares(self) -> np.ndarray:
        """Share of each group among the first k, shape (1, n_labels, n_groups)."""
        return self._shares(np.ones((1, len(self.codes)), dtype=int))

    def resampled_shares(self, bootstrap: Bootstrap) -> np.ndarray:
        """`shares` of each resample, stratified by group, shape (resamples, n_labels, n_groups)."""
        return np.concatenate([self._shares(counts) for counts in bootstrap.counts(self.codes)])

    def chance_shares(self, seed: int) -> np.ndarray:
        """Shares among the first k of random rankings, shape (`N_PERMUTATIONS`, 1, n_groups)."""
        return _chance_shares(self.codes.astype(int).tobytes(), self.n_groups, self.k, seed)

    def _shares(self, counts: np.ndarray) -> np.ndarray:
        """Shares of each resample; ``counts`` (n_resamples, n): how often it contains each example."""
        shares = np.empty((len(counts), len(self.orders), self.n_groups))
        for label, order in enumerate(self.orders):
            depth = self.k
            while depth < len(order) and (counts[:, order[:depth]].sum(axis=1) < self.k).any():
                depth = min(2 * depth, len(order))
            top = order[:depth]
            reached = np.minimum(np.cumsum(counts[:, top], axis=1), self.k)
            taken = np.diff(reached, axis=1, prepend=0)
            belongs = self.codes[top][:, None] == np.arange(self.n_groups)
            shares[:, label] = taken.astype(float) @ belongs.astype(float) / self.k
        return shares


@lru_cache(maxsize=4)  # equal for all templates and metrics of one set
def _chance_shares(codes: bytes, n_groups: int, k: int, seed: int) -> np.ndarray:
    counts = [
        np.bincount(permuted[:k], minlength=n_groups)
        for permuted in permutations(np.frombuffer(codes, dtype=int), seed)
    ]
    return np.stack(counts)[:, None] / k
