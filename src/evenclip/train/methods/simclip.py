"""SimCLIP: batches made of clusters of similar pairs, so that negatives are hard.

Reads and writes nothing. Source: "An empirical study of CLIP fine-tuning with similarity clusters", FITML 2024. Ours:
pivots and neighbours are drawn by the balanced weights, equal captions are one neighbour, the warm-up ends at the full
share, and the neighbours of an epoch are searched while the epoch before it is trained.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import torch

from evenclip.train.batches import Batch, Batches, Embed, WeightedBatches
from evenclip.train.options import SimClipOptions
from evenclip.train.plugin import Clock, ramp

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


DEPTH = 2  # neighbours looked up for each that may be drawn: some will be in the batch already
PIVOTS, NEIGHBOURS, STAND_INS = 2, 3, 4  # name streams of random numbers

Found = tuple[np.ndarray, np.ndarray]
"""The kinds searched for, sorted, and their nearest kinds, shape (n_kinds, depth), -1 = no more."""


def caption_kinds(tokens: torch.Tensor) -> np.ndarray:
    """Shape (m,), int: captions that are equal once tokenised (case, white space) have the same number."""
    return torch.unique(tokens, dim=0, return_inverse=True)[1].numpy()


class SimClipBatches(Batches):
    """Batches of which a share is clusters: a pivot and neighbours of it, no pair twice (as in `WeightedBatches`).

    The pivots, and what fills the batch up, come from a batch of `WeightedBatches`: so every pair is a pivot in
    proportion to its copies. A pivot's neighbours are drawn without replacement, in proportion to copies, from the
    ``cluster_size * neighbourhood`` nearest that are not in the batch yet. Pairs of one kind (equal captions) are one
    neighbour: in each epoch one of them, drawn by copies, stands for all.

    Nearest by features of the middle of the epoch before: so the search goes on beside the training. The first epoch
    waits for its own, as do epochs of so few steps that the search takes longer than half of them.

    Parameters
    ----------
    copies : ndarray of shape (n,), int
        How often each pair is shown per nominal epoch.
    kind : ndarray of shape (n,), int
    batch_size, seed : int
    clock : Clock
    options : SimClipOptions
    end : int, optional
        Batches are asked for before this step; default: to the end of the training.
    """

    def __init__(self, copies: np.ndarray, kind: np.ndarray, batch_size: int, seed: int, clock: Clock,
                 options: SimClipOptions, end: int | None = None):  # fmt: skip
        self._plain = WeightedBatches(copies, batch_size, seed)
        self.steps_per_epoch = self._plain.steps_per_epoch
        self._batch_size, self._seed, self._clock, self._options = batch_size, seed, clock, options
        self._end = clock.n_steps if end is None else end
        self._shown = np.flatnonzero(copies)
        self._kind = np.full(len(copies), -1)
        _, first, self._kind[self._shown] = np.unique(kind[self._shown], return_index=True, return_inverse=True)
        self._of_kind = self._shown[first]  # the first pair of each kind
        self._copies = copies[self._shown]
        self._kind_copies = np.bincount(self._kind[self._shown], self._copies)
        self._epoch, self._stand_in = -1, self._shown[:0]
        # a new thread would have faiss take all cores, whatever torch may take
        self._worker = ThreadPoolExecutor(1, "neighbours", lambda: faiss.omp_set_num_threads(torch.get_num_threads()))
        self._searches: dict[int, Future[Found]] = {}  # by the epoch that they are for

    def n_clusters(self, step: int) -> int:
        """Clusters in the batch of ``step``: as many as fill the share that the warm-up has come to."""
        options, to_come = self._options, 0.0
        if options.doublings:
            to_come = ramp(self._clock.progress(step), options.doublings, 0, options.doublings + 1)
        return int(options.share * 2.0**-to_come * self._batch_size / options.cluster_size)

    def prepare(self, step: int, embed: Embed) -> None:
        """Embed and start the searches that are due: of this epoch, and from its middle on of the next."""
        now, soon = self._searched_for(step), self._searched_for(step + -(-self.steps_per_epoch // 2))
        self._searches = {epoch: found for epoch, found in self._searches.items() if epoch >= now}
        coming = range(now, min(soon, (self._end - 1) // self.steps_per_epoch) + 1)
        kinds = {epoch: self._pivot_kinds(epoch) for epoch in coming if epoch not in self._searches}
        index = None
        if any(map(len, kinds.values())):  # early in a warm-up there may be no pivots
            index = self._worker.submit(Neighbours, embed(self._options.modality, self._of_kind), self._seed)
        for epoch, asked in kinds.items():
            self._searches[epoch] = self._worker.submit(self._search, index, asked)

    def known_until(self, step: int) -> float:
        """The end of the last epoch that neighbours are searched for."""
        return (max(self._searches) + 1) * self.steps_per_epoch if self._options.online else math.inf

    def at(self, step: int) -> Batch:
        """The batch of ``step``: clusters, pivot first, then the rest."""
        pivots, rest = self._dealt(step)
        stand_in = self._stand_ins(self.epoch(step))
        kinds, nearest = self._searches[self._searched_for(step)].result()
        nearest = nearest[np.searchsorted(kinds, self._kind[pivots])]  # (n_clusters, depth)
        rng = np.random.default_rng([self._seed, step, NEIGHBOURS])
        late = rng.exponential(size=nearest.shape) / self._kind_copies[nearest]  # the first k: a draw by copies
        taken = np.zeros(len(self._kind_copies), bool)
        taken[self._kind[pivots]] = True
        rows = []
        for pivot, found, time in zip(pivots, nearest, late, strict=True):
            free = np.flatnonzero((found >= 0) & ~taken[found])[: self._reach]
            chosen = found[free[np.argsort(time[free])[: self._options.cluster_size - 1]]]
            taken[chosen] = True
            rows += [[pivot], stand_in[chosen]]
        clusters = np.concatenate([*rows, rest[:0]])
        is_in = np.isin(rest, clusters)
        filling = np.concatenate([rest[~is_in], rest[is_in]])  # rather a pair twice than a batch too small
        rows = np.concatenate([clusters, filling[: self._batch_size - len(clusters)]])
        return Batch(rows, self._plain.at(step).draws)

    def state(self) -> dict[str, Any]:
        """The neighbours found, by the epoch that they are for; waits for a search that is under way."""
        return {epoch: tuple(map(torch.from_numpy, found.result())) for epoch, found in self._searches.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self._searches = {}
        for epoch, found in state.items():
            self._searches[epoch] = Future()
            self._searches[epoch].set_result(tuple(table.numpy() for table in found))

    @property
    def _reach(self) -> int:
        return self._options.cluster_size * self._options.neighbourhood

    def _dealt(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The pivots of a batch, and what may fill it up; a pair's copies come in one place of the batches dealt."""
        rows = np.random.default_rng([self._seed, step, PIVOTS]).permutation(self._plain.at(step).rows)
        return rows[: self.n_clusters(step)], rows[self.n_clusters(step) :]

    def _pivot_kinds(self, epoch: int) -> np.ndarray:
        """The kinds whose neighbours are asked for in ``epoch``, or ever, sorted."""
        if not self._options.online:
            return np.arange(len(self._kind_copies))
        steps = range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        return np.unique(self._kind[np.concatenate([self._dealt(step)[0] for step in steps])])

    def _search(self, index: Future[Neighbours] | None, kinds: np.ndarray) -> Found:
        depth = min(DEPTH * self._reach, len(self._of_kind) - 1)
        found = index.result().search(kinds, depth) if len(kinds) else np.empty((0, depth))
        return kinds, found.astype(np.int32)

    def _searched_for(self, step: int) -> int:
        """The epoch whose search found the neighbours of ``step``: the first, if that is the only search."""
        return self.epoch(step) if self._options.online else 0

    def _stand_ins(self, epoch: int) -> np.ndarray:
        """For each kind, the pair that stands for it in ``epoch``."""
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch, STAND_INS])
            order = np.argsort(rng.exponential(size=len(self._shown)) / self._copies)[::-1]
            self._stand_in = np.empty(len(self._kind_copies), np.int64)
            self._stand_in[self._kind[self._shown[order]]] = self._shown[order]  # the earliest is written last
            self._epoch = epoch
        return self._stand_in
