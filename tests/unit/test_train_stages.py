"""Two stages are two kinds of batches on one count of steps and epochs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.train.batches import WeightedBatches
from evenclip.train.stages import StagedBatches

FIRST, SECOND = np.repeat([1, 0, 2], [20, 20, 10]), np.repeat([0, 1, 1], [20, 20, 10])
N_STEPS = 60


class Told(WeightedBatches):
    """Weighted batches that note which epochs they were told of."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.epochs = []

    def refresh(self, epoch, embed):
        self.epochs.append(epoch)


def make(switch: int) -> StagedBatches:
    return StagedBatches(Told(FIRST, 8, 0), Told(SECOND, 4, 0), switch)


def test_each_stage_shows_its_own_pairs():
    batches = make(13)
    for step in range(N_STEPS):
        copies = FIRST if step < 13 else SECOND
        assert (copies[batches.at(step).rows] > 0).all()


@given(st.integers(0, N_STEPS))
def test_epochs_are_counted_through_and_each_stage_is_told_of_its_own(switch: int):
    batches, step, counted = make(switch), 0, []
    while step < N_STEPS:
        counted.append(batches.epoch(step))
        batches.refresh(batches.epoch(step), embed=None)
        end = batches.epoch_end(step)
        assert {batches.epoch(s) for s in range(step, min(end, N_STEPS))} == {counted[-1]}
        step = end
    assert counted == list(range(len(counted)))
    first, second = WeightedBatches(FIRST, 8, 0), WeightedBatches(SECOND, 4, 0)
    assert batches._first.epochs == sorted({first.epoch(s) for s in range(switch)})
    assert batches._second.epochs == sorted({second.epoch(s) for s in range(switch, N_STEPS)})


@pytest.mark.parametrize("switch", [0, N_STEPS])
def test_a_share_of_nothing_or_all_is_one_stage(switch: int):
    plain = WeightedBatches(FIRST if switch else SECOND, 8 if switch else 4, 0)
    for step in (0, 7, N_STEPS - 1):
        np.testing.assert_array_equal(make(switch).at(step).rows, plain.at(step).rows)
