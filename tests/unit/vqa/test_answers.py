"""VQA's official comparison of answers, and the properties that questions ask for."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.vqa.answers import normalise_answer, property_of, soft_accuracy, soft_targets


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Red Circle.", "red circle"),
        ("Two", "2"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("don't", "dont"),
        ("t-shirt", "t shirt"),
        ("black/white", "black white"),
        ("  a   an the  ", ""),
    ],
)
def test_answers_are_normalised(answer: str, expected: str):
    assert normalise_answer(answer) == expected == normalise_answer(expected)


@given(st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=2, max_size=10))
def test_the_accuracy_is_the_mean_over_people_left_out(given_answers: list[str]):
    """https://visualqa.org/evaluation.html, by its definition: 10 choose 9 sets of people."""
    accuracies = []
    for others in itertools.combinations(range(len(given_answers)), len(given_answers) - 1):
        accuracies.append(min(1, sum(given_answers[i] == "yes" for i in others) / 3))
    assert soft_accuracy("Yes.", given_answers) == pytest.approx(np.mean(accuracies))


@pytest.mark.parametrize(("n_right", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_of_ten_people_has_the_known_values(n_right: int, expected: float):
    assert soft_accuracy("red", ["red"] * n_right + ["blue"] * (10 - n_right)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What color is the ring?", "color"),
        ("What colour are the walls?", "color"),
        ("What size is the red ring?", "size"),
        ("Is the red circle left of the lorker?", "position"),
        ("Is the star in the upper half?", "position"),
        ("Is there no small square?", "negation"),
        ("Isn't this a dog?", "negation"),
        ("Where is this?", "other"),
        ("Is the uncolored nothingness a north?", "other"),
    ],
)
def test_the_property_that_a_question_asks_for(question: str, expected: str):
    assert property_of(question) == expected


def test_targets_are_the_shares_of_people():
    targets = soft_targets([["Red", "red", "blue", "odd"], ["odd"] * 4], ["red", "blue"])
    np.testing.assert_allclose(targets, [[0.5, 0.25], [0, 0]])
