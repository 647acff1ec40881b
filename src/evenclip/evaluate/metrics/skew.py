"""Fairness of retrieval: skew of the groups at the top when images are ranked by a label's prompt.

Reads the truth columns of perceived attributes and the prompts of the labels; yields
bias/<set>/{max_skew_at_<k>, min_skew_at_<k>, ndkl}.
Reference: Geyik, Ambler and Kenthapadi, Fairness-aware ranking, KDD 2019 (arXiv 1905.01989), definitions 3.3 to 3.6.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
import scipy  # scipy.special is imported when it is first used
from pydantic import Field

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, permutations, reflected_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import Definition, EvaluateOptions, GroupMeasurement, TargetShares, target_vector
from evenclip.evaluate.ranking import Rankings
from evenclip.tables import MetricRow

GEYIK = "Geyik et al. 2019, arXiv 1905.01989"
SKEW = "ln(share of a among the first k / desired share of a)"


class Skew(GroupMeasurement):
    """Skew of retrieval results between the groups of a perceived attribute."""

    metrics: ClassVar = (
        Definition("bias/max_skew_at_{k}", "over-representation of the most favoured group among the top k images",
                   f"mean over labels of max_a {SKEW}", "[0, ln(1 / smallest desired share)]",
                   "mean over random rankings", GEYIK),
        Definition("bias/min_skew_at_{k}", "under-representation of the least favoured group among the top k images",
                   f"mean over labels of min_a {SKEW}; an absent group counts as half an image",
                   "[-ln(2 k largest desired share), 0]", "mean over random rankings", GEYIK),
        Definition("bias/ndkl", "divergence of the whole ranking from the desired shares; top ranks weigh more",
                   "(1/Z) sum_i KL(shares among the first i || desired) / log2(i + 1), Z = sum_i 1 / log2(i + 1)",
                   "[0, ln(1 / smallest desired share)]", "mean over random rankings", GEYIK),
    )  # fmt: skip

    kind: Literal["skew"] = "skew"
    """Retrieval fairness."""
    targets: TargetShares = None
    """Desired share of each group, above 0; they sum to 1. Default: shares in the set."""
    k: Annotated[int, Field(ge=1)] = 100
    """Number of top-ranked images to use."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield means over labels of MaxSkew@k, MinSkew@k and NDKL; 0 = every ranking has the desired shares.

        Skew_a@k = ln(share of a among the first k / desired share). MaxSkew is its maximum and MinSkew its minimum over
        the groups a. Since ln 0 is infinite, an absent group counts as half an image (our choice).
        NDKL (normalised discounted cumulative KL divergence) = (1/Z) sum_i KL(shares among the first i || desired) /
        log2(i + 1), Z = sum_i 1 / log2(i + 1), over the whole ranking. Even a fair ranking scores above 0, since short
        prefixes cannot have the desired shares: compare with `random`, and compare models on the same set only. The
        bootstrap is stratified by group.
        """
        where = f"skew of {data.name}, column {self.column}"
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        names = [f"bias/{data.name}/{metric}" for metric in (f"max_skew_at_{self.k}", f"min_skew_at_{self.k}", "ndkl")]
        yield from groups.insufficient_rows(names)
        if not groups.comparable:
            return
        codes = groups.strata
        desired = target_vector(self.targets, groups.names, np.bincount(codes) / len(codes), f"{where}, targets")
        if (desired == 0).any():
            raise InputError("a desired share is 0", f"{where}, targets", "leave that group out of the set instead")
        similarity = data.similarity(self.prompts)[groups.rows]
        ranked = Rankings.of(similarity, codes, len(desired), self.k, where, bootstrap.seed)
        shares = ranked.shares(), ranked.resampled_shares(bootstrap), ranked.chance_shares(bootstrap.seed)
        skews = [_skews(part, desired, self.k).mean(axis=1) for part in shares]  # (n, 2) each
        largest, smallest = float(-np.log(desired.min())), float(-np.log(2 * self.k * desired.max()))
        for index, (name, within) in enumerate(zip(names[:2], ((0, largest), (smallest, 0)), strict=True)):
            point, replicates, random = (skew[:, index] for skew in skews)
            yield reflected_row(name, point[0], replicates, len(codes), within, random=float(random.mean()))
        divergence = Divergence(codes, desired)
        replicates = [divergence.of(ranked.orders, counts) for counts in bootstrap.counts(codes)]
        point = divergence.of(ranked.orders, np.ones((1, len(codes)), dtype=int))[0]
        random = _chance_ndkl(codes.astype(int).tobytes(), tuple(desired.tolist()), bootstrap.seed)
        yield reflected_row(names[2], point, np.concatenate(replicates), len(codes), (0, largest), random=random)


def _skews(shares: np.ndarray, desired: np.ndarray, k: int) -> np.ndarray:
    """MaxSkew and MinSkew, shape (..., 2), of shares among the first k, shape (..., n_groups)."""
    skew = np.log(np.maximum(shares, 0.5 / k) / desired)
    return np.stack([skew.max(axis=-1), skew.min(axis=-1)], axis=-1)


class Divergence:
    """NDKL of rankings of the same examples.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Group of each example.
    desired : ndarray, shape (n_groups,)
    """

    def __init__(self, codes: np.ndarray, desired: np.ndarray):
        self._codes = codes
        position, size = np.arange(1, len(codes) + 1), np.arange(len(codes) + 1)
        weight = 1 / np.log2(position + 1)
        # with counts c of the groups among the first i, KL = (1/i) sum (c ln c - c ln desired) - ln i, since the counts
        # sum to i; the terms of the sum are looked up by c, and 1/i is part of the weight
        self._weight = weight / (weight.sum() * position)
        self._constant = np.log(position) @ (self._weight * position)
        self._terms = [scipy.special.xlogy(size, size) - size * np.log(share) for share in desired]

    def of(self, orders: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Mean NDKL over the rankings ``orders``, shape (n_labels, n), for each resample, shape (n_resamples,).

        ``counts``, shape (n_resamples, n): how often each resample contains each example; each row sums to n.
        """
        n = len(self._codes)
        repeated = (np.tile(self._codes[order], len(counts)).repeat(counts[:, order].ravel()) for order in orders)
        return np.mean([self.of_ranked(ranked.reshape(len(counts), n)) for ranked in repeated], axis=0)

    def of_ranked(self, ranked: np.ndarray) -> np.ndarray:
        """NDKL, shape (b,), of groups in ranked order, shape (b, n)."""
        counts = (np.cumsum(ranked == group, axis=1, dtype=np.intp) for group in range(len(self._terms)))
        return sum(term.take(c) @ self._weight for term, c in zip(self._terms, counts, strict=True)) - self._constant


@lru_cache(maxsize=4)  # equal for all templates of one set
def _chance_ndkl(codes: bytes, desired: tuple[float, ...], seed: int) -> float:
    groups = np.frombuffer(codes, dtype=int)
    divergence = Divergence(groups, np.array(desired))
    return float(np.mean([divergence.of_ranked(permuted[None]) for permuted in permutations(groups, seed)]))
