"""Parity, pairwise preference, harm probe, group fairness and prompt sensitivity: by hand and against fairlearn."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from sklearn.metrics import accuracy_score

from evenclip.errors import InputError
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import EvaluateOptions
from evenclip.evaluate.metrics.association import Association
from evenclip.evaluate.metrics.fairness import Fairness
from evenclip.evaluate.metrics.harm import Harm
from evenclip.evaluate.metrics.pairwise import PUBLIC_PAIRS, Pairwise
from evenclip.evaluate.metrics.parity import Parity
from evenclip.evaluate.metrics.representation import Representation
from evenclip.evaluate.run import over_templates
from support.evaluate_example import biased_people, make_set, measure, vectors

AXES = {"a": [1, 0], "b": [0, 1]}


@pytest.fixture
def people() -> EmbeddedSet:
    return biased_people()


def test_mean_parity_by_hand():
    # scale ln 3: an image on an axis has f = (3/4, 1/4), on the diagonal (1/2, 1/2)
    data = make_set(np.array([[1, 0], [1, 0], [1, 1], [0, 1]]), truth={"job": ["x", "x", "y", "y"]},
                    prompts={"g": AXES}, logit_scale=math.log(3))  # fmt: skip
    metrics = measure(Parity(prompts="g", values=["a", "b"], column="job"), data)
    assert metrics["mean_parity", ""].value == pytest.approx((0.5 + 0.5 + 0 - 0.5) / 4)
    assert metrics["mean_parity", "x"].value == pytest.approx(0.5) and metrics["mean_parity", "x"].n == 2
    assert metrics["mean_parity", "y"].value == pytest.approx(-0.25)
    turned = measure(Parity(prompts="g", values=["b", "a"]), data)
    assert turned["mean_parity", ""].value == pytest.approx(-0.125) and set(turned) == {("mean_parity", "")}


def test_pairwise_preference_by_hand():
    # of x: one prefers a, one ties; of y: one of three prefers a
    image = np.array([[1, 0], [1, 1], [1, 0], [0, 1], [0, 1]])
    data = make_set(image, truth={"g": list("xxyyy")}, prompts={"jobs": AXES | {"c": [-1, -0.5]}})
    pairs = [["a", "b"], ["c", "a"]]
    metrics = measure(Pairwise(prompts="jobs", column="g", values=["x", "y"], pairs=pairs), data)
    assert metrics["pairwise_ab", "a/b"].value == pytest.approx(1.5 / 2 - 1 / 3)
    assert metrics["pairwise_ab", "c/a"].value == 0
    assert metrics["pairwise_ab_max", ""].value == pytest.approx(1.5 / 2 - 1 / 3)
    assert metrics["pairwise_ab_mean", ""].value == pytest.approx((1.5 / 2 - 1 / 3) / 2)
    assert metrics["pairwise_ab_max", ""].random > 0 == metrics["pairwise_ab", "a/b"].random


def test_the_public_pairs_are_classes_of_the_occupations_file():
    from evenclip.prompts import read_prompts

    classes = read_prompts("config/prompts/occupations.yaml").classes
    assert len(PUBLIC_PAIRS) == 5 and all(name in classes for pair in PUBLIC_PAIRS for name in pair)


def test_harm_by_hand():
    image = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])
    data = make_set(
        image, truth={"g": list("xxyyy")}, prompts={"h": {"person": [1, 0, 0], "thief": [0, 1, 0], "ape": [0, 0, 1]}}
    )
    metrics = measure(Harm(prompts="h", column="g", harmful={"crime": ["thief"], "animal": ["ape"]}), data)
    assert metrics["harm_crime", "x"].value == 1 / 2 and metrics["harm_crime", "x"].n == 2
    assert metrics["harm_crime", "y"].value == pytest.approx(0.5 / 3)  # the tie counts half
    assert metrics["harm_crime", ""].value == pytest.approx(1.5 / 5)
    assert metrics["harm_crime_gap", ""].value == pytest.approx(1 / 2 - 0.5 / 3)
    assert metrics["harm_animal", "y"].value == pytest.approx(1.5 / 3)
    assert metrics["harm_animal", ""].random == pytest.approx(1 / 3)


def test_the_harm_probe_finds_its_classes_in_its_prompt_file():
    from evenclip.evaluate.metrics.harm import CLIP_CATEGORIES
    from evenclip.prompts import read_prompts

    classes = read_prompts("config/prompts/fairface_harm.yaml").classes
    assert len(classes) == 21 and all(name in classes for names in CLIP_CATEGORIES.values() for name in names)


def classified_people() -> tuple[EmbeddedSet, np.ndarray, np.ndarray, np.ndarray]:
    """A set of two classes and three groups, its truth, predictions and groups."""
    rng = np.random.default_rng(3)
    label, group = rng.integers(0, 2, 300), rng.choice(list("xyz"), 300)
    image = np.eye(2)[label] * np.where(group == "x", 1.5, 0.6)[:, None] + rng.normal(size=(300, 2)) * 0.5 + 0.2
    data = make_set(image, truth={"y": list(np.array(["a", "b"])[label]), "g": list(group)}, prompts={"p": AXES})
    return data, label, data.similarity("p").argmax(axis=1), group


def test_group_fairness_of_two_classes_is_that_of_fairlearn():
    data, label, chosen, group = classified_people()
    metrics = measure(Fairness(prompts="p", target="y", column="g"), data)
    frame = MetricFrame(metrics=accuracy_score, y_true=label, y_pred=chosen, sensitive_features=group)
    assert metrics["worst_group_accuracy", ""].value == pytest.approx(frame.group_min())
    parity = demographic_parity_difference(label, chosen, sensitive_features=group)
    assert metrics["demographic_parity_difference", ""].value == pytest.approx(parity)
    of_each_class = [
        equal_opportunity_difference(label == c, chosen == c, sensitive_features=group) for c in (0, 1)
    ]  # fairlearn's is that of the class 1
    row = metrics["equal_opportunity_difference", ""]
    assert row.value == pytest.approx(max(of_each_class)) and row.n == 300
    odds = [equalized_odds_difference(label == c, chosen == c, sensitive_features=group) for c in (0, 1)]
    assert metrics["equalized_odds_difference", ""].value == pytest.approx(max(odds))
    assert metrics["accuracy_gap", ""].value == pytest.approx(frame.difference(method="between_groups"))
    for (metric, of_group), row in metrics.items():
        assert row.ci_low <= row.value <= row.ci_high
        if metric == "group_accuracy":
            assert row.value == pytest.approx(frame.by_group[of_group])
        else:
            assert 0 < row.random < 1


def test_equalized_odds_of_three_classes_are_fairlearns_largest():
    rng = np.random.default_rng(8)
    label, group = rng.integers(0, 3, 600), rng.choice(list("xy"), 600)
    image = np.eye(3)[label] * np.where(group == "x", 1.5, 0.7)[:, None] + rng.normal(size=(600, 3)) * 0.5
    truth = {"y": list(np.array(list("abc"))[label]), "g": list(group)}
    prompts = {name: list(axis) for name, axis in zip("abc", np.eye(3), strict=True)}
    data = make_set(image, truth=truth, prompts={"p": prompts})
    row = measure(Fairness(prompts="p", target="y", column="g"), data)["equalized_odds_difference", ""]
    chosen = data.similarity("p").argmax(axis=1)
    odds = [equalized_odds_difference(label == c, chosen == c, sensitive_features=group) for c in range(3)]
    assert row.value == pytest.approx(max(odds)) and row.ci_low <= row.value <= row.ci_high


def test_the_fairness_intervals_are_of_the_same_statistic():
    data, label, chosen, group = classified_people()
    row = measure(Fairness(prompts="p", target="y", column="g"), data, resamples=2000)["worst_group_accuracy", ""]
    rng, drawn = np.random.default_rng(0), []
    members = [np.flatnonzero(group == name) for name in "xyz"]
    for _ in range(2000):
        rows = [member[rng.integers(len(member), size=len(member))] for member in members]
        drawn.append(min((label == chosen)[member].mean() for member in rows))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert row.ci_low == pytest.approx(low, abs=0.02)
    assert high < row.ci_high < high + 0.1  # a minimum is biased downwards: the upper end is that of all groups at once


def test_groups_are_dealt_in_all_classes_at_once():
    # the largest of two classes' differences is by chance larger than either class alone makes it
    rng = np.random.default_rng(6)
    label, group = rng.integers(0, 2, 400), rng.choice(list("xy"), 400)
    image = np.eye(2)[label] + rng.normal(size=(400, 2)) * 0.8
    truth = {"y": list(np.array(["a", "b"])[label]), "g": list(group)}
    both = measure(Fairness(prompts="p", target="y", column="g"), make_set(image, truth=truth, prompts={"p": AXES}))
    alone = []
    for name in "ab":
        columns = truth | {"y": [value if value == name else "" for value in truth["y"]]}
        data = make_set(image, truth=columns, prompts={"p": AXES})
        metrics = measure(Fairness(prompts="p", target="y", column="g"), data)
        alone.append(metrics["equal_opportunity_difference", ""].random)
    assert both["equal_opportunity_difference", ""].random > 1.1 * max(alone)
    hit = (image[:, 1] > image[:, 0]) == label
    assert both["worst_group_accuracy", ""].random < hit.mean()


def test_equal_opportunity_needs_enough_images_of_the_class():
    data, *_ = classified_people()
    metrics = measure(Fairness(prompts="p", target="y", column="g"), data, minimum_group=80)
    row = metrics["equal_opportunity_difference", "all classes (insufficient)"]
    assert row.value is None and metrics["worst_group_accuracy", ""].value > 0


def test_prompt_sensitivity_is_mean_and_range_over_templates(people):
    rng = np.random.default_rng(5)
    classes = people.prompts["groups"]
    turned = classes.embedding + 0.5 * rng.normal(size=classes.embedding.shape)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    data = replace(
        people,
        prompts={"groups": replace(classes, templates=np.stack([classes.embedding, turned, -classes.embedding]))},
    )
    task = Representation(prompts="groups")
    rows = {row.metric: row for row in over_templates(task, data, 0, EvaluateOptions())}
    single = []
    for template in data.prompts["groups"].templates:
        with_template = make_set(people.image, prompts={"groups": dict(zip(classes.names, template, strict=True))})
        single.append(measure(task, with_template)["rb", ""].value)
    assert rows["bias/s/rb_prompt_mean"].value == pytest.approx(np.mean(single))
    assert rows["bias/s/rb_prompt_range"].value == pytest.approx(max(single) - min(single)) and max(single) > 0.1
    assert rows["bias/s/rb_prompt_mean"].n == 3 and set(rows) == {
        f"bias/s/{metric}_prompt_{what}" for metric in ("rb", "rb_signed", "rb_hard") for what in ("mean", "range")
    }
    assert over_templates(Representation(prompts="groups"), people, 0, EvaluateOptions()) == []  # one template


def test_chance_over_templates_is_the_mean_of_their_chances(people):
    classes = people.prompts["labels"]
    templates = np.stack([classes.embedding, classes.embedding[[0, 0, 2]], -classes.embedding])
    data = replace(people, prompts={"labels": replace(classes, templates=templates)})
    task = Association(prompts="labels", column="group")
    rows = {row.metric: row for row in over_templates(task, data, 0, EvaluateOptions())}
    single = [measure(task, data.with_template("labels", index))["ab_max", ""].random for index in range(3)]
    assert rows["bias/s/ab_max_prompt_mean"].random == pytest.approx(np.mean(single)) != pytest.approx(single[0])


@pytest.mark.parametrize(("task", "message"), [
    (Parity(prompts="groups", values=["ravi", "nobody"]), "'nobody' is not a class of groups"),
    (Pairwise(prompts="labels", column="group", values=["ravi", "tolo"]), "'librarian' is not a class of labels"),
    (Harm(prompts="labels", column="group"), "'thief' is not a class of labels"),
    (Fairness(prompts="labels", target="group", column="group"), "the value 'ravi' is not a class"),
])  # fmt: skip
def test_unknown_names_are_one_clear_error(people, task, message):
    with pytest.raises(InputError, match=message):
        measure(task, people)


@pytest.mark.parametrize(("task", "metrics"), [
    (Pairwise(prompts="labels", column="group", values=["ravi", "tolo"], pairs=[["baker", "guard"]]),
     ["pairwise_ab_max", "pairwise_ab_mean"]),
    (Harm(prompts="labels", column="group", harmful={"x": ["baker"]}), ["harm_x", "harm_x_gap"]),
    (Fairness(prompts="groups", target="group", column="group"), ["worst_group_accuracy"]),
    (Parity(prompts="groups", values=["ravi", "tolo"], column="group"), ["mean_parity"]),
])  # fmt: skip
def test_small_groups_get_a_mark_instead_of_a_number(people, task, metrics):
    groups = np.where(np.arange(200) < 29, "tolo", "ravi")
    few = make_set(people.image, truth={"group": list(groups)}, prompts=vectors(people))
    measured = measure(task, few, minimum_group=30)
    for metric in metrics:
        row = measured[metric, "tolo (insufficient)"]
        assert (row.value, row.ci_low, row.ci_high, row.n) == (None, None, None, 29)
    assert not any(group == "tolo" for _, group in measured)
