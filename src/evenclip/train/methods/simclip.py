"""SimCLIP: batches that contain clusters of similar pairs, so that negatives are hard.

Source: "An empirical study of CLIP fine-tuning with similarity clusters", FITML 2024. Our changes: pivots and
neighbours are drawn by the balanced weights, equal captions count as one neighbour, and the neighbours of an epoch are
searched while the epoch before it is trained.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import torch

from evenclip.errors import InputError
from evenclip.train.batches import Batch, Batches, Embed, WeightedBatches
from evenclip.train.method_options import SimClipOptions
from evenclip.train.plugin import MethodContext, MethodParts

EXACT_BELOW = 50_000  # for fewer vectors an exact search costs less than building an index
PROBED_SHARE = 0.15  # share of the index's lists that are searched; recall is measured in benchmarks/batches.py
RERANKED = 12  # candidates per neighbour that are compared again exactly: with fewer, recall suffers first
TRAINED_ON, ROUNDS = 39, 8  # vectors per list, and rounds of k-means, that the index's centres are computed from


class Neighbours:
    """Nearest-neighbour search among unit vectors.

    Exact up to `EXACT_BELOW` vectors. Larger sets are divided into sqrt(n) lists by their nearest centre and compressed
    to four bits for every four coordinates. The lists nearest to a query are scanned, and the best candidates compared
    exactly (Jégou et al. 2011, product quantisation; André et al. 2017, fast scan).

    Parameters
    ----------
    features : ndarray of shape (n, d), float32, unit rows
        d divisible by 4.
    seed : int
        For the centres of the index.
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
        """The ``k`` nearest other vectors of each of ``rows``, nearest first: shape (n_rows, k), int64, -1 = none."""
        _, nearest = self._index.search(self._features[rows], k + 1)
        unusable = (nearest == rows[:, None]) | (nearest < 0)
        nearest[unusable] = -1
        usable_first = np.argsort(unusable, axis=1, kind="stable")
        return np.take_along_axis(nearest, usable_first, axis=1)[:, :k]


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


DEPTH = 2  # neighbours looked up per neighbour that may be drawn: some of them will be in the batch already
PIVOTS, NEIGHBOURS, REPRESENTATIVES = 2, 3, 4  # name streams of random numbers

SearchResult = tuple[np.ndarray, np.ndarray]
"""The kinds searched for, sorted, and their nearest kinds, shape (n_kinds, depth), -1 = no more."""


def build(context: MethodContext, options: SimClipOptions) -> MethodParts:
    """Batches that contain clusters of similar pairs."""
    pairs, batch_size = context.pairs, context.options.batch_size
    by_text = options.modality == "text"
    kind = caption_kinds(pairs.tokens)[pairs.captions[pairs.starts[:-1]]] if by_text else np.arange(len(pairs.keys))

    def make(copies: np.ndarray, end: int) -> SimClipBatches:
        return SimClipBatches(copies, kind, batch_size, context.seed, options, end)

    return MethodParts(make_batches=make)


def caption_kinds(tokens: torch.Tensor) -> np.ndarray:
    """A number for each caption, shape (m,), int: equal for captions with equal tokens (any case and white space)."""
    return torch.unique(tokens, dim=0, return_inverse=True)[1].numpy()


class SimClipBatches(Batches):
    """Batches of which a share consists of clusters: a pivot and neighbours of it, no pair twice.

    The pivots, and the pairs that fill up the batch, come from a batch of `WeightedBatches`; so every pair is a pivot
    in proportion to its copies. The neighbours of a pivot are drawn without replacement, in proportion to their copies,
    from the ``cluster_size`` nearest pairs that are not in the batch yet. Pairs of one kind (equal captions) count as
    one neighbour: in each epoch one of them, drawn by copies, represents all.

    The features are those of the middle of the epoch before, so that the search runs beside the training. The first
    epoch waits for its search, and so does an epoch that is shorter than the search.

    Parameters
    ----------
    copies : ndarray of shape (n,), int
        How often each pair is shown per nominal epoch.
    kind : ndarray of shape (n,), int
    batch_size, seed : int
    options : SimClipOptions
    end : int
        Batches are asked for before this step.

    Raises
    ------
    InputError
        The share of a batch is smaller than one cluster.
    """

    def __init__(self, copies: np.ndarray, kind: np.ndarray, batch_size: int, seed: int, options: SimClipOptions,
                 end: int):  # fmt: skip
        self.n_clusters = int(options.share * batch_size / options.cluster_size)
        if not self.n_clusters:
            what = f"{options.share:g} of a batch of {batch_size} is less than a cluster of {options.cluster_size}"
            raise InputError(what, "train.simclip", "lower cluster_size, or raise share or batch_size")
        self._plain = WeightedBatches(copies, batch_size, seed)
        self.steps_per_epoch = self._plain.steps_per_epoch
        self._batch_size, self._seed, self._options, self._end = batch_size, seed, options, end
        self._shown = np.flatnonzero(copies)
        self._kind = np.full(len(copies), -1)
        _, first, self._kind[self._shown] = np.unique(kind[self._shown], return_index=True, return_inverse=True)
        self._of_kind = self._shown[first]  # the first pair of each kind
        self._copies = copies[self._shown]
        self._kind_copies = np.bincount(self._kind[self._shown], self._copies)
        self._epoch, self._representative = -1, self._shown[:0]
        # in a new thread faiss would use all cores, whatever limit torch has
        self._worker = ThreadPoolExecutor(1, "neighbours", lambda: faiss.omp_set_num_threads(torch.get_num_threads()))
        self._searches: dict[int, Future[SearchResult]] = {}  # by the epoch that they are for

    def prepare(self, step: int, embed: Embed) -> None:
        """Embed the pairs and start the searches that are due: for this epoch, from its middle on for the next."""
        now, soon = self._searched_for(step), self._searched_for(step + -(-self.steps_per_epoch // 2))
        self._searches = {epoch: search for epoch, search in self._searches.items() if epoch >= now}
        due = range(now, min(soon, (self._end - 1) // self.steps_per_epoch) + 1)
        kinds = {epoch: self._pivot_kinds(epoch) for epoch in due if epoch not in self._searches}
        if not kinds:
            return
        index = self._worker.submit(Neighbours, embed(self._options.modality, self._of_kind), self._seed)
        for epoch, pivots in kinds.items():
            self._searches[epoch] = self._worker.submit(self._search, index, pivots)

    def known_until(self, step: int) -> float:
        """The end of the last epoch for which neighbours are searched."""
        return (max(self._searches) + 1) * self.steps_per_epoch if self._options.online else math.inf

    def at(self, step: int) -> Batch:
        """The batch of ``step``: clusters, each with its pivot first, then the rest."""
        pivots, rest = self._deal(step)
        representative = self._representatives(self.epoch(step))
        kinds, nearest = self._searches[self._searched_for(step)].result()
        rng = np.random.default_rng([self._seed, step, NEIGHBOURS])
        nearest = nearest[np.searchsorted(kinds, self._kind[pivots])]  # (n_clusters, depth)
        # the k earliest of exponential times are a draw of k without replacement, in proportion to copies
        times = rng.exponential(size=nearest.shape) / self._kind_copies[nearest]
        taken = np.zeros(len(self._kind_copies), bool)
        taken[self._kind[pivots]] = True
        rows = []
        for pivot, neighbours, time in zip(pivots, nearest, times, strict=True):
            free = np.flatnonzero((neighbours >= 0) & ~taken[neighbours])[: self._options.cluster_size]
            chosen = neighbours[free[np.argsort(time[free])[: self._options.cluster_size - 1]]]
            taken[chosen] = True
            rows += [[pivot], representative[chosen]]
        clusters = np.concatenate([*rows, rest[:0]])
        is_in = np.isin(rest, clusters)
        filling = np.concatenate([rest[~is_in], rest[is_in]])  # a pair twice is better than a batch that is too small
        rows = np.concatenate([clusters, filling[: self._batch_size - len(clusters)]])
        return Batch(rows, self._plain.at(step).draws)

    def state(self) -> dict[str, Any]:
        """The neighbours found, by the epoch that they are for; waits for a search that is under way."""
        return {epoch: tuple(map(torch.from_numpy, search.result())) for epoch, search in self._searches.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self._searches = {}
        for epoch, tables in state.items():
            self._searches[epoch] = Future()
            self._searches[epoch].set_result(tuple(table.numpy() for table in tables))

    def _deal(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The pivots of a batch, and the pairs that may fill it up: a plain batch in another order."""
        rows = np.random.default_rng([self._seed, step, PIVOTS]).permutation(self._plain.at(step).rows)
        return rows[: self.n_clusters], rows[self.n_clusters :]

    def _pivot_kinds(self, epoch: int) -> np.ndarray:
        """The kinds whose neighbours are needed in ``epoch``, or ever, sorted."""
        if not self._options.online:
            return np.arange(len(self._kind_copies))
        steps = range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        return np.unique(self._kind[np.concatenate([self._deal(step)[0] for step in steps])])

    def _search(self, index: Future[Neighbours], kinds: np.ndarray) -> SearchResult:
        depth = min(DEPTH * self._options.cluster_size, len(self._of_kind) - 1)
        return kinds, index.result().search(kinds, depth).astype(np.int32)

    def _searched_for(self, step: int) -> int:
        """The epoch whose search found the neighbours of ``step``; always the first if there is a single search."""
        return self.epoch(step) if self._options.online else 0

    def _representatives(self, epoch: int) -> np.ndarray:
        """The pair that represents each kind in ``epoch``."""
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch, REPRESENTATIVES])
            order = np.argsort(rng.exponential(size=len(self._shown)) / self._copies)[::-1]
            self._representative = np.empty(len(self._kind_copies), np.int64)
            self._representative[self._kind[self._shown[order]]] = self._shown[order]  # the earliest is written last
            self._epoch = epoch
        return self._representative
