"""Nearest neighbours by cosine: exact for few vectors, by an index for many. Reads and writes nothing."""

import math

import faiss
import numpy as np

EXACT_BELOW = 50_000  # up to here comparing all with all costs less than building an index
PROBED_SHARE = 0.15  # of the index's lists; of a million, 0.96 of the 32 nearest are found: benchmarks/batches.py
RERANKED = 12  # candidates by compressed vectors for each neighbour, compared again exactly: fewer cost recall first
TRAINED_ON, ROUNDS = 39, 8  # vectors per list that the index's centres are found from, and rounds of k-means


class Neighbours:
    """An index of unit vectors.

    Up to `EXACT_BELOW` vectors the neighbours are exact. Above, the vectors are in sqrt(n) lists by their nearest
    centre, compressed to four bits for four coordinates; the lists nearest to a query are scanned and the best
    candidates compared exactly (Jégou et al. 2011, product quantisation; André et al. 2017, fast scan).

    Parameters
    ----------
    features : ndarray of shape (n, d), float32, unit rows
        d divisible by 4.
    seed : int
        Of the index's centres.
    """

    def __init__(self, features: np.ndarray, seed: int, exact_below: int = EXACT_BELOW):
        self._features = np.ascontiguousarray(features)
        n, d = self._features.shape
        if n <= exact_below:
            self._index = faiss.IndexFlatIP(d)
        else:
            self._index = _compressed(self._features, math.isqrt(n), seed)
        self._index.add(self._features)

    def search(self, rows: np.ndarray, k: int) -> np.ndarray:
        """The ``k`` nearest others of each of ``rows``, nearest first: shape (n_rows, k), int64; -1 = no more found."""
        _, found = self._index.search(self._features[rows], k + 1)
        unusable = (found == rows[:, None]) | (found < 0)
        found[unusable] = -1
        to_the_end = np.argsort(unusable, axis=1, kind="stable")
        return np.take_along_axis(found, to_the_end, axis=1)[:, :k]


def _compressed(features: np.ndarray, n_lists: int, seed: int) -> faiss.Index:
    n, d = features.shape
    index = faiss.index_factory(d, f"IVF{n_lists},PQ{d // 4}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.k_factor = RERANKED
    lists = faiss.extract_index_ivf(index)
    lists.nprobe = math.ceil(PROBED_SHARE * n_lists)
    lists.cp.seed, lists.cp.niter = seed % 2**31, ROUNDS
    sample = np.random.default_rng(seed).choice(n, min(n, TRAINED_ON * n_lists), replace=False)
    index.train(features[np.sort(sample)])
    return index
