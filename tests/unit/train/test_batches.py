"""Batches realise the copies exactly, repeat nothing within a batch, and depend on (seed, step) only."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.errors import InputError
from evenclip.train.batches import WeightedBatches

copies_and_size = st.tuples(
    st.lists(st.integers(0, 4), min_size=4, max_size=60).filter(sum).map(lambda c: np.array(c)), st.integers(1, 20)
).filter(lambda drawn: drawn[0].sum() >= drawn[1])


@given(copies_and_size, st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_an_epoch_shows_rows_by_copies_less_the_incomplete_batch(drawn, seed):
    copies, size = drawn
    batches = WeightedBatches(copies, size, seed)
    epoch = [batches.at(step) for step in range(batches.steps_per_epoch)]
    assert all(batch.rows.shape == batch.draws.shape == (size,) for batch in epoch)
    counts = np.bincount(np.concatenate([batch.rows for batch in epoch]), minlength=len(copies))
    assert (counts <= copies).all()
    assert (copies - counts).sum() == copies.sum() % size


@given(copies_and_size)
@settings(max_examples=150, deadline=None)
def test_rows_repeat_in_a_batch_only_with_too_many_copies(drawn):
    copies, size = drawn
    batches = WeightedBatches(copies, size, 0)
    for step in range(batches.steps_per_epoch):
        for row, count in Counter(batches.at(step).rows.tolist()).items():
            assert count == 1 or copies[row] > batches.steps_per_epoch


def test_any_step_can_be_redone_in_any_order():
    copies = np.random.default_rng(0).integers(0, 3, 100)
    batches, again = (WeightedBatches(copies, 8, 3) for _ in range(2))
    steps = [0, 25, 3, 99, 4, 25]
    first = {step: batches.at(step).rows for step in sorted(set(steps))}
    assert all(np.array_equal(again.at(step).rows, first[step]) for step in steps)


def test_epochs_and_seeds_differ():
    copies = np.ones(64, int)
    batches = WeightedBatches(copies, 64, 0)
    assert not np.array_equal(batches.at(0).rows, batches.at(1).rows)
    assert not np.array_equal(batches.at(0).rows, WeightedBatches(copies, 64, 1).at(0).rows)


def test_repeated_rows_are_spread_evenly_over_the_epoch():
    """A row's copies come early and late alike: the mean step of all rows with 2 copies is the middle of the epoch."""
    copies = np.repeat([1, 2], 500)
    batches = WeightedBatches(copies, 10, 0)
    steps = [step for step in range(batches.steps_per_epoch) for row in batches.at(step).rows if row >= 500]
    deviation = batches.steps_per_epoch / np.sqrt(12 * len(steps))
    assert np.mean(steps) == pytest.approx((batches.steps_per_epoch - 1) / 2, abs=4 * deviation)


def test_a_batch_larger_than_an_epoch_is_an_error():
    with pytest.raises(InputError, match="a batch of 9 is more than the 8 pairs"):
        WeightedBatches(np.full(4, 2), 9, 0)


def neighbours_as_twins(n: int) -> np.ndarray:
    return np.array([row ^ 1 if row ^ 1 < n else -1 for row in range(n)])


@given(copies_and_size, st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_twins_move_between_batches_and_nothing_else_changes(drawn, seed):
    copies, size = drawn
    plain = WeightedBatches(copies, size, seed)
    twins = WeightedBatches(copies, size, seed, neighbours_as_twins(len(copies)))
    steps = range(plain.steps_per_epoch)
    before, after = ([batches.at(step).rows for step in steps] for batches in (plain, twins))
    assert np.array_equal(np.sort(np.concatenate(before)), np.sort(np.concatenate(after)))
    for rows in after:
        for row, count in Counter(rows.tolist()).items():
            assert count == 1 or copies[row] > plain.steps_per_epoch


def test_nearly_all_twins_meet_in_a_batch():
    n = 1000
    twins = np.where(np.arange(n) < n // 2, neighbours_as_twins(n), -1)
    for epoch in range(2):
        batches = WeightedBatches(np.ones(n, int), 20, 3, twins)
        first = epoch * batches.steps_per_epoch
        epoch_rows = [set(batches.at(first + k).rows.tolist()) for k in range(batches.steps_per_epoch)]
        met = sum(row in rows and row ^ 1 in rows for rows in epoch_rows for row in range(0, n // 2, 2))
        assert met >= 0.99 * n / 4
