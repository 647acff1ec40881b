"""Two stages are two kinds of batches on one count of steps and epochs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.train.batches import WeightedBatches
from evenclip.train.methods.stages import StagedBatches

FIRST, SECOND = np.repeat([1, 0, 2], [20, 20, 10]), np.repeat([0, 1, 1], [20, 20, 10])
N_STEPS = 60


class Told(WeightedBatches):
    """Weighted batches that note which steps they were told of, and know ten further ones."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.steps, self.restored = [], []

    def prepare(self, step, embed):
        self.steps.append(step)

    def restore(self, state):
        self.restored.append(state)

    def known_until(self, step):
        return self.steps[-1] + 10


def make(switch: int) -> StagedBatches:
    return StagedBatches(Told(FIRST, 8, 0), Told(SECOND, 4, 0), switch)


def test_each_stage_shows_its_own_pairs():
    batches = make(13)
    for step in range(N_STEPS):
        copies = FIRST if step < 13 else SECOND
        assert (copies[batches.at(step).rows] > 0).all()


@given(st.integers(0, N_STEPS))
def test_each_stage_gets_its_own_steps_and_none_in_advance(switch: int):
    batches, epochs = make(switch), []
    for step in range(N_STEPS):
        epochs.append(batches.epoch(step))
        batches.prepare(step, embed=None)
        assert batches.known_until(step) == (min(step + 10, switch) if step < switch else step + 10)
    assert batches._first.steps == list(range(switch))
    assert batches._second.steps == list(range(switch, N_STEPS))
    assert batches._first.restored == [{}] * (switch < N_STEPS) and not batches._second.restored  # it is forgotten
    first, second = WeightedBatches(FIRST, 8, 0), WeightedBatches(SECOND, 4, 0)
    assert sorted(set(epochs)) == list(range(epochs[-1] + 1))  # counted through
    assert epochs[-1] + 1 == len({first.epoch(s) for s in range(switch)}) + len(
        {second.epoch(s) for s in range(switch, N_STEPS)}
    )


@pytest.mark.parametrize("switch", [0, N_STEPS])
def test_a_share_of_0_or_1_is_one_stage(switch: int):
    plain = WeightedBatches(FIRST if switch else SECOND, 8 if switch else 4, 0)
    for step in (0, 7, N_STEPS - 1):
        np.testing.assert_array_equal(make(switch).at(step).rows, plain.at(step).rows)
