"""The split of triples into train, valid and test, without leakage.

All triples between two entities, whatever their relation and direction, are in one split: so none of them gives another
away. Every entity and every relation of valid and test is in train too: the first triple of each, in a random order,
stays there. (Triples that say the same have been left out before, see `evenclip.graph.redundancy`.)
"""

import numpy as np

from evenclip.graph.tables import Triples

SPLITS = ("train", "valid", "test")


def split_triples(triples: Triples, valid_share: float, test_share: float, seed: int) -> np.ndarray:
    """The split of each triple as a row of `SPLITS`, shape (n_triples,).

    Parameters
    ----------
    valid_share, test_share : float
        In [0, 1): of all triples; fewer where entities with few triples allow no more.
    seed : int
    """
    n = len(triples)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    low, high = np.minimum(triples.head, triples.tail), np.maximum(triples.head, triples.tail)
    pair = np.unique(low * (high.max() + 1) + high, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(n)
    # order[i // 2] is the triple of the i-th end, and the first occurrence of an entity is its lowest i
    ends = np.stack([triples.head[order], triples.tail[order]], axis=1).ravel()
    anchors = np.concatenate([
        order[np.unique(ends, return_index=True)[1] // 2],
        order[np.unique(triples.relation[order], return_index=True)[1]],
    ])  # fmt: skip
    is_free = np.ones(pair.max() + 1, dtype=bool)
    is_free[pair[anchors]] = False
    size = np.bincount(pair)
    drawn = pair[order]
    drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]  # every pair once, in the random order
    drawn = drawn[is_free[drawn]]
    before = np.cumsum(size[drawn]) - size[drawn]  # triples drawn before each pair
    of_pair = np.zeros(len(size), dtype=np.int64)
    n_test, n_valid = round(test_share * n), round(valid_share * n)
    of_pair[drawn[before < n_test + n_valid]] = SPLITS.index("valid")
    of_pair[drawn[before < n_test]] = SPLITS.index("test")
    return of_pair[pair]
