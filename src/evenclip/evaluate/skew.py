"""Fairness of retrieval: who comes first when images are ranked by a label's prompt?

Reads a perceived attribute's truth column and the labels' prompts; yields bias/<set>/{max_skew_at_100, ndkl}.
Reference: Geyik, Ambler and Kenthapadi, Fairness-aware ranking, KDD 2019 (arXiv 1905.01989), definitions 3.3 to 3.6.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.special import xlogy

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, interval_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import (
    EvaluateOptions,
    Measurement,
    TargetShares,
    insufficient,
    small_groups,
    target_vector,
)
from evenclip.records import MetricRow

K = 100


class Skew(Measurement):
    """Skew of retrieval results between the groups of a perceived attribute."""

    kind: Literal["skew"] = "skew"
    """Retrieval fairness."""
    prompts: str
    """Stem of the prompt file with the labels that images are ranked by."""
    column: str
    """Truth column with the perceived attribute; images without a value are left out."""
    targets: TargetShares = None
    """Desired share of each value, all above 0, summing to 1; default: its share in the set."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The attribute's column."""
        return (self.column,)

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Mean over the labels of MaxSkew@100 and of NDKL; 0 = every ranking mirrors the desired shares.

        Skew_a@k = ln(share of a among the first k / desired share); MaxSkew is its maximum over the groups a.
        NDKL = (1/Z) sum_i KL(shares among the first i || desired) / log2(i + 1), Z = sum_i 1 / log2(i + 1), over the
        whole ranking. Even a fair ranking scores above 0, since short prefixes cannot mirror the shares: compare
        models on the same set only. The bootstrap is stratified by group; equal similarities keep the set's order.
        """
        where = f"skew of {data.name}, column {self.column}"
        groups = tuple(sorted(set(data.truth[self.column].tolist()) - {""}))
        if len(groups) < 2:
            raise InputError(f"{len(groups)} group(s) only", where, "a comparison needs two")
        codes = data.codes(self.column, groups)
        rows = codes >= 0
        codes = codes[rows]
        if len(codes) < K:
            raise InputError(f"{len(codes)} images are fewer than the {K} ranked first", where, "use a larger set")
        names = [f"bias/{data.name}/max_skew_at_{K}", f"bias/{data.name}/ndkl"]
        small = small_groups(codes, groups, options.minimum_group)
        if small:
            yield from (insufficient(name, group, n) for name in names for group, n in small.items())
            return
        desired = target_vector(self.targets, groups, np.bincount(codes) / len(codes), f"{where}, targets")
        if (desired == 0).any():
            raise InputError("a desired share is 0", f"{where}, targets", "leave such images out of the set instead")
        orders = np.argsort(-data.similarity(self.prompts)[rows], axis=0, kind="stable").T
        point = _skews(orders, codes, desired, np.ones((1, len(codes)), dtype=int))
        replicates = np.concatenate([_skews(orders, codes, desired, counts) for counts in bootstrap.counts(codes)])
        for index, name in enumerate(names):
            yield interval_row(name, point[0, index], replicates[:, index], len(codes))


def _skews(orders: np.ndarray, codes: np.ndarray, desired: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """MaxSkew@K and NDKL, means over the rankings, of each resample.

    Parameters
    ----------
    orders : ndarray of int, shape (n_labels, n)
        Examples from the first to the last, for each label.
    codes : ndarray of int, shape (n,)
        Group of each example.
    desired : ndarray, shape (n_groups,)
    counts : ndarray of int, shape (n_resamples, n)
        How often each resample holds each example; each row sums to n.

    Returns
    -------
    ndarray, shape (n_resamples, 2)
    """
    n = len(codes)
    place, size = np.arange(1, n + 1), np.arange(n + 1)
    weight = 1 / np.log2(place + 1)
    weight /= weight.sum() * place
    # with c of a group among the first i, KL = (1/i) sum (c ln c - c ln desired) - ln i, since the c sum to i:
    # the terms of the sum are looked up by c, and 1/i is in the weight
    constant = np.log(place) @ (weight * place)
    terms = [xlogy(size, size) - size * np.log(share) for share in desired]
    total = np.zeros((len(counts), 2))
    for order in orders:
        ranked = np.repeat(np.tile(codes[order], len(counts)), counts[:, order].ravel()).reshape(len(counts), n)
        skews, ndkl = [], -constant
        for group, share in enumerate(desired):
            seen = np.cumsum(ranked == group, axis=1, dtype=np.intp)
            skews.append(seen[:, K - 1] / K / share)
            ndkl = ndkl + terms[group].take(seen) @ weight
        total += np.stack([np.log(np.max(skews, axis=0)), ndkl], axis=1)
    return total / len(orders)
