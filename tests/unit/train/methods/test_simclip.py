"""SimCLIP batches satisfy their definition: nobody twice, clusters of neighbours, all drawn by copies."""

import itertools
from collections import Counter
from collections.abc import Iterator
from unittest.mock import patch

import faiss
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from evenclip.errors import InputError
from evenclip.train.batches import Embed, WeightedBatches
from evenclip.train.method_options import SimClipOptions
from evenclip.train.methods import simclip
from evenclip.train.methods.simclip import SimClipBatches
from support.vectors import brute_force, unit_rows


def make(copies: np.ndarray, features: np.ndarray, batch_size: int, seed: int = 0, kind: np.ndarray | None = None,
         n_steps: int = 100, **options) -> SimClipBatches:  # fmt: skip
    kind = np.arange(len(copies)) if kind is None else kind
    batches = SimClipBatches(copies, kind, batch_size, seed, SimClipOptions(**options), n_steps)
    batches.prepare(0, of(features))
    return batches


def of(features: np.ndarray) -> Embed:
    """Embeds as said."""
    return lambda modality, rows: features[rows]


def all_batches(batches: SimClipBatches, features: np.ndarray, n_steps: int) -> Iterator[np.ndarray]:
    """The rows of each batch, prepared as an engine does."""
    for step in range(n_steps):
        batches.prepare(step, of(features))
        yield batches.at(step).rows


@given(
    n=st.integers(40, 90),
    size=st.integers(2, 4),
    n_fitting=st.integers(1, 3),
    extra=st.integers(0, 1),
    share=st.floats(0.3, 1),
    seed=st.integers(0, 99),
)
def test_a_batch_is_clusters_of_neighbours_and_a_rest(n, size, n_fitting, extra, share, seed):
    batch_size = n_fitting * size + extra  # below 14, so that there are as many batches as a pair has copies
    assume(share * batch_size >= size)
    with patch.object(simclip, "DEPTH", 20):  # enough neighbours are looked up to fill every cluster
        check_clusters(n, batch_size, size, share, seed)


def check_clusters(n: int, batch_size: int, size: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    copies = rng.integers(0, 3, n) + (np.arange(n) < 40)
    features = unit_rows(n, 8, seed)
    options = {"cluster_size": size, "share": share}
    batches = make(copies, features, batch_size, seed, **options)
    present = np.flatnonzero(copies)
    neighbours = present[brute_force(features[present], np.arange(len(present)), len(present) - 1)]
    nearest_of = dict(zip(present, neighbours, strict=True))
    for step in range(min(batches.steps_per_epoch, 3)):
        rows, n_clusters = batches.at(step).rows, batches.n_clusters
        assert len(rows) == len(set(rows)) == batch_size and set(rows) <= set(present)
        assert n_clusters == int(share * batch_size / size)
        clusters, rest = np.split(rows, [n_clusters * size])
        pivots = clusters[::size]
        assert {*pivots, *rest} <= set(WeightedBatches(copies, batch_size, seed).at(step).rows)
        taken = set(pivots)
        for pivot, *members in clusters.reshape(-1, size):
            free = [row for row in nearest_of[pivot][: simclip.DEPTH * size] if row not in taken]
            assert set(members) <= set(free[:size])
            taken |= set(members)


def test_pivots_are_drawn_by_copies():
    copies = np.repeat([1, 2, 3], 50)
    n_steps = 1500
    batches = make(copies, unit_rows(150, 8), 30, n_steps=n_steps, cluster_size=10)
    assert batches.steps_per_epoch == 10
    counts = np.zeros(150)
    for rows in all_batches(batches, unit_rows(150, 8), n_steps):
        counts[rows[::10]] += 1
    expected = counts.sum() * copies / copies.sum()
    assert chisquare(counts, expected).pvalue > 1e-3
    assert chisquare(counts, np.full(150, counts.mean())).pvalue < 1e-9  # the test can tell


def test_neighbours_are_drawn_by_copies():
    """Three of the four nearest, without replacement; the one left out has few copies."""
    rng = np.random.default_rng(0)
    centres = np.repeat(np.linalg.qr(rng.standard_normal((8, 8)))[0], 5, axis=0)
    features = centres + 0.01 * rng.standard_normal(centres.shape)
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    copies = np.tile([1, 1, 1, 2, 4], 8)
    batches = make(copies, features, 4, n_steps=10**6, cluster_size=4)
    left_out = Counter()
    for pivot, *neighbours in all_batches(batches, features, 120 * batches.steps_per_epoch):
        assert {row // 5 for row in neighbours} == {pivot // 5}
        if pivot % 5 == 0:
            left_out[({1, 2, 3, 4} - {row % 5 for row in neighbours}).pop()] += 1
    weight, expected = {1: 1, 2: 1, 3: 2, 4: 4}, Counter()
    for *drawn, last in itertools.permutations(weight):
        remaining, probability = sum(weight.values()), 1.0
        for neighbour in drawn:
            probability *= weight[neighbour] / remaining
            remaining -= weight[neighbour]
        expected[last] += probability
    observed = np.array([left_out[i] for i in weight])
    assert chisquare(observed, observed.sum() * np.array([expected[i] for i in weight])).pvalue > 1e-3


def test_pairs_of_one_kind_are_one_neighbour_drawn_by_copies():
    kind = np.repeat(np.arange(30), 4)
    copies = np.tile([1, 1, 1, 3], 30)
    features = np.repeat(unit_rows(30, 8), 4, axis=0)
    batches = make(copies, features, 20, kind=kind, n_steps=400, cluster_size=10)
    stood_in = []
    for rows in all_batches(batches, features, 400):
        assert len(set(kind[rows[:10]])) == len(set(kind[rows[10:]])) == 10
        stood_in += [*rows[1:10], *rows[11:]]
    share = np.mean(np.array(stood_in) % 4 == 3)
    assert share == pytest.approx(0.5, abs=0.06)


def test_a_share_smaller_than_one_cluster_is_refused():
    with pytest.raises(InputError, match=r"0\.9 of a batch of 16 is less than a cluster of 16"):
        make(np.ones(64, int), unit_rows(64, 8), 16, cluster_size=16, share=0.9)


class Model:
    """Embeds anew at each call, and notes what it was asked for."""

    def __init__(self):
        self.seen = []

    def embed(self, modality: str, rows: np.ndarray) -> np.ndarray:
        self.seen.append((modality, len(rows)))
        return unit_rows(80, 8, seed=len(self.seen))[rows]


def start(online: bool = True, n_steps: int = 50, end: int | None = None) -> SimClipBatches:
    """Seven batches an epoch, of 80 pairs of 40 kinds."""
    options = SimClipOptions(cluster_size=4, modality="image", online=online)
    kind = np.repeat(np.arange(40), 2)
    return SimClipBatches(np.repeat([1, 2], 40), kind, 16, 3, options, end or n_steps)


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("stop", range(13))
def test_batches_are_the_same_again_from_any_step(online: bool, stop: int):
    straight, broken, restored, model, model_again = start(online), start(online), start(online), Model(), Model()
    rows = []
    for step in range(20):
        straight.prepare(step, model.embed)
        rows.append(straight.at(step).rows.tolist())
    for step in range(stop):
        broken.prepare(step, model_again.embed)
    assert len(broken.state()) <= 2  # past epochs are forgotten
    restored.restore(broken.state())
    for step in range(stop, 20):
        restored.prepare(step, model_again.embed)
        assert restored.at(step).rows.tolist() == rows[step]
    assert model_again.seen == model.seen


def test_neighbours_are_searched_half_an_epoch_ahead():
    batches, model, n_seen, known_steps = start(n_steps=20), Model(), [], []
    for step in range(20):
        batches.prepare(step, model.embed)
        n_seen.append(len(model.seen))
        known_steps.append(batches.known_until(step))
    assert n_seen == [1] * 3 + [2] * 7 + [3] * 10  # three epochs of seven steps, the last cut short
    assert known_steps == [7] * 3 + [14] * 7 + [21] * 10
    assert set(model.seen) == {("image", 40)}


def test_no_search_is_started_after_the_last_epoch():
    batches, model = start(end=7), Model()
    for step in range(7):
        batches.prepare(step, model.embed)
    assert len(model.seen) == 1


def test_the_search_takes_as_many_threads_as_torch_may():
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            assert start()._worker.submit(faiss.omp_get_max_threads).result() == n_threads
    finally:
        torch.set_num_threads(before)


def test_one_search_serves_a_training_that_is_not_online():
    batches, model = start(online=False), Model()
    for step in range(50):
        batches.prepare(step, model.embed)
        assert batches.known_until(step) == np.inf
        batches.at(step)
    assert len(model.seen) == 1


def test_batches_that_start_within_an_epoch_are_distinct():
    """A second stage does: both searches are among the same features."""
    batches, model = start(), Model()
    batches.prepare(5, model.embed)
    assert (len(model.seen), batches.known_until(5)) == (1, 14)
    assert len({batches.at(step).rows.tobytes() for step in range(5, 14)}) == 9


def test_a_state_from_before_the_first_step_is_empty():
    batches = SimClipBatches(np.ones(8, int), np.arange(8), 4, 0, SimClipOptions(cluster_size=2), 5)
    batches.restore(batches.state())
    batches.prepare(0, of(unit_rows(8, 8)))
    assert len(batches.at(0).rows) == 4
