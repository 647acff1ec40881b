"""The mark of runs whose association bias fell with what they know of the labels."""

import numpy as np
import pytest

from evenclip.summarize.inference import RunsBySeeds
from evenclip.summarize.knowing_less import MARK, mark, per_skill
from evenclip.tables import MetricRow

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


def test_the_mark_says_what_is_left_at_equal_knowledge():
    both = metrics(-0.1, -0.2)
    both["bias/people/ab_per_skill"] = RunsBySeeds({"none": (0.5 + NOISE[0]).tolist(), "m4": (0.4 + NOISE[2]).tolist()})
    assert "; at equal knowledge of the labels bias/people/ab_per_skill -0.1" in mark("m4", "none", both, PEOPLE)


ASSOCIATION = {"kind": "association", "prompts": "jobs"}
NAMING = {"kind": "zeroshot", "prompts": "jobs", "people": True}
GROUP_MEANS = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]])  # f of a model for three labels, by group
TRUE_CLASS = 0.6  # its mean probability of the true label


def measured(means: np.ndarray, true_class: float, people_set: str = "people") -> dict[tuple[str, str], MetricRow]:
    n_labels = means.shape[1]
    rows = [
        MetricRow("bias/open/ab_max", float(np.abs(means[0] - means[1]).max()), None, None, 100),
        MetricRow(f"zeroshot/{people_set}/true_class_probability", true_class, None, None, 100, random=1 / n_labels),
    ]
    return {(row.metric, row.group): row for row in rows}


def value(rows: list[MetricRow]) -> float | None:
    (row,) = rows
    assert row.metric == "bias/open/ab_per_skill" and row.people
    return row.value


def test_guessing_at_times_changes_nothing_at_equal_knowledge():
    tasks = {"open": [ASSOCIATION], "people": [NAMING]}
    plain = value(per_skill(tasks, measured(GROUP_MEANS, TRUE_CLASS)))
    assert plain == pytest.approx(0.3 / ((0.6 - 1 / 3) / (2 / 3)))
    for share in (0.2, 0.5, 0.8):
        mixed = measured((1 - share) * GROUP_MEANS + share / 3, (1 - share) * TRUE_CLASS + share / 3)
        assert mixed["bias/open/ab_max", ""].value == pytest.approx((1 - share) * 0.3)  # won by knowing less
        assert value(per_skill(tasks, mixed)) == pytest.approx(plain)


def test_less_bias_with_the_same_knowledge_counts():
    tasks = {"open": [ASSOCIATION], "people": [NAMING]}
    fairer = GROUP_MEANS * 0.5 + GROUP_MEANS[::-1] * 0.5
    assert value(per_skill(tasks, measured(fairer, TRUE_CLASS))) == pytest.approx(0, abs=1e-12)


def test_a_model_that_guesses_has_no_bias_per_skill():
    tasks = {"open": [ASSOCIATION], "people": [NAMING]}
    assert value(per_skill(tasks, measured(np.full((2, 3), 1 / 3), 1 / 3))) is None


def test_knowledge_is_that_of_the_same_labels_and_of_people():
    of_model = measured(GROUP_MEANS, TRUE_CLASS)
    for other in ({"prompts": "groups"}, {"people": False}, {"kind": "fairness"}):
        assert per_skill({"open": [ASSOCIATION], "people": [NAMING | other]}, of_model) == []
    own = of_model | measured(GROUP_MEANS, 1.0, people_set="open")
    assert value(per_skill({"open": [ASSOCIATION, NAMING], "people": [NAMING]}, own)) == pytest.approx(0.3)
