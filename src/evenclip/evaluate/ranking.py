"""Images ranked by each label's prompt, and who is at the top: in the sample, in resamples, and by chance.

All metrics of retrieval fairness (skew, NDKL, Bias@k, entropy) read these rankings.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.chance import deals


@dataclass(frozen=True)
class Rankings:
    """Rankings of n examples, one for each label.

    ``orders`` (n_labels, n): examples from the first to the last, equal similarities at random; ``codes`` (n,): group
    of each example, 0 ... n_groups - 1; ``k``: how many are looked at.
    """

    orders: np.ndarray
    codes: np.ndarray
    n_groups: int
    k: int

    @classmethod
    def of(cls, similarity: np.ndarray, codes: np.ndarray, n_groups: int, k: int, where: str, seed: int) -> "Rankings":
        """Rank by ``similarity``, shape (n, n_labels); `InputError` if there are fewer than ``k`` examples.

        A set may be sorted by group: in its order, a model that gives all images one score would look biased.
        """
        if len(codes) < k:
            raise InputError(f"{len(codes)} images are fewer than the {k} ranked first", where, "lower k or add images")
        chance = np.random.default_rng([seed, *similarity.shape]).random(similarity.shape)
        return cls(np.lexsort((chance, -similarity), axis=0).T, codes, n_groups, k)

    def shares(self) -> np.ndarray:
        """Share of each group among the first k, shape (1, n_labels, n_groups)."""
        return self._shares(np.ones((1, len(self.codes)), dtype=int))

    def resampled_shares(self, bootstrap: Bootstrap) -> np.ndarray:
        """The same in each resample, stratified by group, shape (resamples, n_labels, n_groups)."""
        return np.concatenate([self._shares(counts) for counts in bootstrap.counts(self.codes)])

    def chance_shares(self, seed: int) -> np.ndarray:
        """Shares among the first k of rankings that know nothing, shape (`chance.DEALS`, 1, n_groups)."""
        return _chance_shares(self.codes.astype(int).tobytes(), self.n_groups, self.k, seed)

    def _shares(self, counts: np.ndarray) -> np.ndarray:
        """Shares of each resample; ``counts`` (n_resamples, n): how often it holds each example."""
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
    dealt = [np.bincount(deal[:k], minlength=n_groups) for deal in deals(np.frombuffer(codes, dtype=int), seed)]
    return np.stack(dealt)[:, None] / k
