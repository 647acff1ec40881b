"""SimCLIP batches satisfy their definition: nobody twice, clusters of neighbours, all drawn by copies."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare
from test_train_neighbours import brute_force, unit_rows

from evenclip.train.batches import WeightedBatches
from evenclip.train.clock import Clock
from evenclip.train.simclip import DEPTH, SimClipBatches
from evenclip.train.simclip_options import SimClipOptions


def make(copies: np.ndarray, features: np.ndarray, batch_size: int, seed: int = 0, kind: np.ndarray | None = None,
         n_steps: int = 100, **options) -> SimClipBatches:  # fmt: skip
    kind = np.arange(len(copies)) if kind is None else kind
    batches = SimClipBatches(copies, kind, batch_size, seed, Clock(n_steps), SimClipOptions(**options))
    batches.refresh(0, lambda modality: features)
    return batches


@given(
    n=st.integers(40, 90),
    batch_size=st.integers(2, 13),  # at least as many batches as anyone has copies
    size=st.integers(2, 9),
    reach=st.integers(1, 3),
    share=st.floats(0.1, 1),
    seed=st.integers(0, 99),
)
def test_a_batch_is_clusters_of_neighbours_and_a_rest_with_nobody_twice(n, batch_size, size, reach, share, seed):
    assume(DEPTH * size * reach > batch_size + size - 2)  # enough neighbours are looked up, so that clusters are whole
    rng = np.random.default_rng(seed)
    copies = rng.integers(0, 3, n) + (np.arange(n) < 40)
    features = unit_rows(n, 8, seed)
    options = {"cluster_size": size, "neighbourhood": reach, "share": share}
    batches = make(copies, features, batch_size, seed, **options)
    shown = np.flatnonzero(copies)
    ranks = shown[brute_force(features[shown], np.arange(len(shown)), len(shown) - 1)]
    nearest_of = dict(zip(shown, ranks, strict=True))
    for step in range(min(batches.steps_per_epoch, 3)):
        rows, n_clusters = batches.at(step).rows, batches.n_clusters(step)
        assert len(rows) == len(set(rows)) == batch_size and set(rows) <= set(shown)
        assert n_clusters == int(share * batch_size / size)
        clusters, rest = np.split(rows, [n_clusters * size])
        pivots = clusters[::size]
        assert {*pivots, *rest} <= set(WeightedBatches(copies, batch_size, seed).at(step).rows)
        taken = set(pivots)
        for pivot, *members in clusters.reshape(-1, size):
            free = [row for row in nearest_of[pivot][: DEPTH * size * reach] if row not in taken]
            assert set(members) <= set(free[: size * reach])
            taken |= set(members)


def test_pivots_are_drawn_by_copies():
    copies = np.repeat([1, 2, 3], 50)
    batches = make(copies, unit_rows(150, 8), 30, cluster_size=10)
    counts = np.zeros(150)
    for epoch in range(150):
        batches.refresh(epoch, lambda modality: unit_rows(150, 8))
        for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
            counts[batches.at(step).rows[::10]] += 1
    expected = counts.sum() * copies / copies.sum()
    assert chisquare(counts, expected).pvalue > 1e-3
    assert chisquare(counts, np.full(150, counts.mean())).pvalue < 1e-9  # the test can tell


def test_neighbours_are_drawn_by_copies():
    """One neighbour each from the four nearest, of which one has four copies and one has two."""
    rng = np.random.default_rng(0)
    centres = np.repeat(np.linalg.qr(rng.standard_normal((8, 8)))[0], 5, axis=0)
    features = centres + 0.01 * rng.standard_normal(centres.shape)
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    copies = np.tile([1, 1, 1, 2, 4], 8)
    batches = make(copies, features, 2, n_steps=10**6, cluster_size=2, neighbourhood=2)
    counts = Counter()
    for epoch in range(60):
        batches.refresh(epoch, lambda modality: features)
        for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
            pivot, neighbour = batches.at(step).rows
            assert pivot // 5 == neighbour // 5
            if pivot % 5 == 0:
                counts[neighbour % 5] += 1
    observed = np.array([counts[i] for i in (1, 2, 3, 4)])
    assert chisquare(observed, observed.sum() * np.array([1, 1, 2, 4]) / 8).pvalue > 1e-3


def test_pairs_of_one_kind_are_one_neighbour_and_stand_in_by_copies():
    kind = np.repeat(np.arange(30), 4)
    copies = np.tile([1, 1, 1, 3], 30)
    features = np.repeat(unit_rows(30, 8), 4, axis=0)
    batches = make(copies, features, 20, kind=kind, cluster_size=10)
    stood_in = []
    for epoch in range(40):
        batches.refresh(epoch, lambda modality: features)
        rows = batches.at(epoch * batches.steps_per_epoch).rows
        assert len(set(kind[rows[:10]])) == len(set(kind[rows[10:]])) == 10
        stood_in += [*rows[1:10], *rows[11:]]
    share = np.mean(np.array(stood_in) % 4 == 3)
    assert share == pytest.approx(0.5, abs=0.06)


def test_the_share_doubles_and_ends_full():
    batches = make(np.ones(64, int), unit_rows(64, 8), 32, n_steps=100, cluster_size=4, doublings=3)
    assert [batches.n_clusters(step) for step in (0, 24, 26, 49, 51, 74, 76, 99)] == [1, 1, 2, 2, 4, 4, 8, 8]


def test_without_clusters_the_batches_are_those_without_simclip():
    copies = np.ones(64, int)
    batches = make(copies, unit_rows(64, 8), 16, cluster_size=16, share=0.9)
    np.testing.assert_array_equal(np.sort(batches.at(1).rows), np.sort(WeightedBatches(copies, 16, 0).at(1).rows))


@pytest.mark.parametrize("online", [True, False])
def test_batches_are_the_same_again_also_from_the_middle_of_an_epoch(online: bool):
    copies, seen = np.repeat([1, 2], 40), []

    def embed(modality: str) -> np.ndarray:
        seen.append(modality)
        return unit_rows(80, 8, seed=len(seen))

    def start() -> SimClipBatches:
        options = SimClipOptions(cluster_size=4, modality="image", online=online)
        return SimClipBatches(copies, np.arange(80), 16, 3, Clock(50), options)

    first, second = start(), start()
    first.refresh(0, embed)
    second.restore(first.state())
    assert [first.at(s).rows.tolist() for s in range(7)] == [second.at(s).rows.tolist() for s in range(7)]
    second.refresh(1, embed)
    first.refresh(1, lambda modality: unit_rows(80, 8, seed=2))
    assert [first.at(s).rows.tolist() for s in (7, 9)] == [second.at(s).rows.tolist() for s in (7, 9)]
    assert seen == ["image"] * (2 if online else 1)


def test_a_state_from_before_the_first_epoch_is_empty():
    batches = SimClipBatches(np.ones(8, int), np.arange(8), 4, 0, Clock(5), SimClipOptions(cluster_size=2))
    batches.restore(batches.state())
    batches.refresh(0, lambda modality: unit_rows(8, 8))
    assert len(batches.at(0).rows) == 4
