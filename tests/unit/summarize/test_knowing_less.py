"""The mark of runs whose association bias fell with what they know of the labels."""

import numpy as np
import pytest

from evenclip.summarize.inference import RunsBySeeds
from evenclip.summarize.knowing_less import MARK, mark

NOISE = np.random.default_rng(0).normal(0, 0.01, (4, 8))
PEOPLE = {"bias/people/ab_max", "zeroshot/people/acc1"}


def metrics(bias: float, accuracy: float, about: str = "people") -> dict[str, RunsBySeeds]:
    values = [{"none": (0.3 + NOISE[0]).tolist(), "m4": (0.3 + bias + NOISE[1]).tolist()},
              {"none": (0.6 + NOISE[2]).tolist(), "m4": (0.6 + accuracy + NOISE[3]).tolist()}]  # fmt: skip
    return {"bias/people/ab_max": RunsBySeeds(values[0]), f"zeroshot/{about}/acc1": RunsBySeeds(values[1])}


def test_a_run_that_lost_labels_and_bias_is_marked():
    text = mark("m4", "none", metrics(-0.1, -0.2), PEOPLE)
    assert MARK in text and "bias/people/ab_max -0.1" in text and "zeroshot/people/acc1 -0.2" in text


@pytest.mark.parametrize(("bias", "accuracy"), [(-0.1, 0.1), (0.1, -0.2), (0.1, 0.1)])
def test_a_run_that_lost_only_one_of_them_is_not(bias, accuracy):
    assert mark("m4", "none", metrics(bias, accuracy), PEOPLE) is None


def test_accuracy_of_things_says_nothing_about_labels_of_people():
    assert mark("m4", "none", metrics(-0.1, -0.2, "objects"), PEOPLE) is None
    assert mark("none", "none", metrics(-0.1, -0.2), PEOPLE) is None
