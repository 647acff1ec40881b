"""Bias metrics: hand-computed cases, slow plain re-computations, invariances, and small groups without numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from evenclip.errors import InputError
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.metrics.association import Association
from evenclip.evaluate.metrics.recognition import Recognition
from evenclip.evaluate.metrics.representation import Representation
from evenclip.evaluate.metrics.skew import Skew
from support.evaluate_example import biased_people, make_set, measure, vectors


@pytest.fixture
def people() -> EmbeddedSet:
    return biased_people()


def test_rb_by_hand():
    # two prompts on the axes, scale ln 3: an image on an axis has f = (3/4, 1/4); on the diagonal (1/2, 1/2)
    data = make_set(
        np.array([[1, 0], [1, 0], [1, 0], [1, 1]]),
        prompts={"g": {"a": [1, 0], "b": [0, 1]}},
        logit_scale=math.log(3),
    )
    metrics = measure(Representation(prompts="g"), data)
    assert metrics["rb", ""].value == pytest.approx((3 * 0.75 + 0.5) / 4 - 0.5)
    assert metrics["rb_hard", ""].value == pytest.approx(3.5 / 4 - 0.5)  # the tie counts half for each
    assert metrics["rb_signed", ""].value == pytest.approx((3 * 0.75 + 0.5) / 4 - 0.5)
    metrics = measure(Representation(prompts="g", targets={"a": 0.25, "b": 0.75}), data)
    assert metrics["rb", ""].value == pytest.approx((3 * 0.75 + 0.5) / 4 - 0.25)


def test_rb_of_two_values_is_half_the_mean_parity(people):
    f = softmax(people.logit_scale * people.similarity("groups").astype(float), axis=1)
    parity = (f[:, 0] - f[:, 1]).mean()
    assert measure(Representation(prompts="groups"), people)["rb", ""].value == pytest.approx(abs(parity) / 2)


def test_an_added_logit_bias_would_change_nothing(people):
    logits = people.logit_scale * people.similarity("groups").astype(float)
    np.testing.assert_allclose(softmax(logits - 10.0, axis=1), people.probabilities("groups"), atol=1e-12)


def test_hard_rb_is_the_limit_of_soft_rb(people):
    sharp = make_set(people.image, prompts=vectors(people), logit_scale=1e7)
    metrics = measure(Representation(prompts="groups"), sharp)
    assert metrics["rb", ""].value == pytest.approx(metrics["rb_hard", ""].value, abs=1e-3)


def test_ab_agrees_with_its_definition(people):
    metrics = measure(Association(prompts="labels", column="group", values=["ravi", "tolo"]), people)
    f, group = people.probabilities("labels"), people.truth["group"]
    expected = f[group == "ravi"].mean(axis=0) - f[group == "tolo"].mean(axis=0)
    for label, value in zip(("baker", "smith", "guard"), expected, strict=True):
        row = metrics["ab", label]
        assert row.value == pytest.approx(value) and row.n == 200 and row.ci_low < row.value < row.ci_high
    assert metrics["ab_max", ""].value == pytest.approx(np.abs(expected).max())
    assert metrics["ab_mean", ""].value == pytest.approx(np.abs(expected).mean())
    assert expected.sum() == pytest.approx(0, abs=1e-9)
    assert metrics["ab_max", ""].value > 0.05


def test_weighted_ab_is_that_of_repeated_images(people):
    copies = np.random.default_rng(0).integers(0, 4, people.n)
    weighted = replace(people, truth=people.truth | {"copies": copies.astype(str)})
    rows = np.repeat(np.arange(people.n), copies)
    repeated = make_set(
        people.image[rows], truth={"group": people.truth["group"][rows].tolist()}, prompts=vectors(people)
    )
    task = {"prompts": "labels", "column": "group"}
    by_weight = measure(Association(**task, weights="copies"), weighted)
    by_copies = measure(Association(**task), repeated)
    for metric in ("ab_max", "ab_mean"):
        assert by_weight[metric, ""].value == pytest.approx(by_copies[metric, ""].value, abs=1e-6)
    equal = replace(people, truth=people.truth | {"copies": np.full(people.n, "2.5")})
    plain = measure(Association(**task), people)["ab_max", ""]
    same = measure(Association(**task, weights="copies"), equal)["ab_max", ""]
    assert (same.value, same.ci_low, same.random) == pytest.approx((plain.value, plain.ci_low, plain.random))


@pytest.mark.parametrize(("weight", "message"), [("-1", "negative"), ("much", "much"), ("0", "no weight")])
def test_invalid_weights_are_refused(people, weight, message):
    data = replace(people, truth=people.truth | {"w": np.full(people.n, weight)})
    with pytest.raises(InputError, match=message):
        measure(Association(prompts="labels", column="group", weights="w"), data)


def test_ab_by_hand():
    data = make_set(
        np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]]),
        truth={"group": ["x", "x", "y", "y", "z"]},
        prompts={"labels": {"baker": [1, 0], "smith": [0, 1]}},
        logit_scale=math.log(3),
    )
    metrics = measure(Association(prompts="labels", column="group", values=["x", "y"]), data)
    assert metrics["ab", "baker"].value == pytest.approx(0.75 - 0.25)
    assert metrics["ab", "smith"].value == pytest.approx(0.25 - 0.75)
    assert metrics["ab_max", ""].value == pytest.approx(0.5) and metrics["ab_max", ""].n == 4


def test_ab_changes_sign_with_the_order_of_two_groups(people):
    metrics = measure(Association(prompts="labels", column="group", values=["ravi", "tolo"]), people)
    other = measure(Association(prompts="labels", column="group", values=["tolo", "ravi"]), people)
    assert metrics["ab", "baker"].value == pytest.approx(-other["ab", "baker"].value)
    assert metrics["ab_max", ""].value == pytest.approx(other["ab_max", ""].value)
    assert measure(Association(prompts="labels", column="group"), people) == metrics


def test_ab_of_three_groups_compares_each_with_the_rest(people):
    group = np.array([("x", "y", "z", "z")[i % 4] for i in range(200)])
    data = make_set(people.image, truth={"group": list(group)}, prompts=vectors(people))
    metrics = measure(Association(prompts="labels", column="group"), data)
    f = data.probabilities("labels")
    for name in ("x", "y", "z"):
        contrast = f[group == name].mean(axis=0) - f[group != name].mean(axis=0)
        for label, value in zip(("baker", "smith", "guard"), contrast, strict=True):
            assert metrics["ab", f"{label}, {name}"].value == pytest.approx(value)
    every = [abs(row.value) for (metric, _), row in metrics.items() if metric == "ab"]
    assert metrics["ab_max", ""].value == pytest.approx(max(every)) and len(every) == 9
    assert metrics["ab_mean", ""].value == pytest.approx(np.mean(every))


def test_an_intersection_is_a_group_and_small_ones_are_left_out(people):
    age = np.where(np.arange(200) % 10 == 0, "old", "young")  # 14 old of ravi, 6 old of tolo
    data = make_set(people.image, truth=people.truth | {"age": list(age)}, prompts=vectors(people))
    metrics = measure(Association(prompts="labels", column=["group", "age"]), data, minimum_group=10)
    assert metrics["ab_max", "tolo/old (insufficient)"].n == 6 and metrics["ab_max", ""].n == 194
    compared = {group.partition(", ")[2] for metric, group in metrics if metric == "ab"}
    assert compared == {"ravi/old", "ravi/young", "tolo/young"}
    rows, f = data.column(["group", "age"]) != "tolo/old", data.probabilities("labels")
    old = (data.column(["group", "age"]) == "ravi/old")[rows]
    assert metrics["ab", "baker, ravi/old"].value == pytest.approx(f[rows][old, 0].mean() - f[rows][~old, 0].mean())


def test_chance_of_ab_is_that_of_a_group_blind_model(people):
    rng, drawn = np.random.default_rng(1), []
    task = Association(prompts="labels", column="group")
    for _ in range(100):
        mixed = make_set(people.image, truth={"group": list(rng.permutation(people.truth["group"]))},
                         prompts=vectors(people))  # fmt: skip
        drawn.append(measure(task, mixed, resamples=1)["ab_max", ""].value)
    row = measure(task, people)["ab_max", ""]
    assert row.random == pytest.approx(np.mean(drawn), abs=5 * np.std(drawn) / 10)
    assert 0 < row.random < row.value / 3 and measure(task, people)["ab", "baker"].random == 0


def test_recognition_by_intersection(people):
    age = np.where(np.arange(200) % 4 == 0, "old", "young")
    data = make_set(people.image, truth=people.truth | {"age": list(age)}, prompts=vectors(people))
    metrics = measure(Recognition(column="group", prompts="groups", groups=["group", "age"]), data)
    chosen = np.array(["ravi", "tolo"])[data.similarity("groups").argmax(axis=1)]
    right, group = chosen == data.truth["group"], data.truth["group"]
    shares = {f"{g}/{a}": right[(group == g) & (age == a)].mean() for g in ("ravi", "tolo") for a in ("old", "young")}
    assert {
        group: row.value for (metric, group), row in metrics.items() if metric == "acc1" and group
    } == pytest.approx(shares)
    assert metrics["attribute_gap", ""].value == pytest.approx(max(shares.values()) - min(shares.values()))
    assert metrics["acc1", ""].value == pytest.approx(right.mean())


def test_recognition_agrees_with_plain_counting(people):
    metrics = measure(Recognition(column="group", prompts="groups"), people)
    chosen = np.array(["ravi", "tolo"])[people.similarity("groups").argmax(axis=1)]
    right, group = chosen == people.truth["group"], people.truth["group"]
    by_group = {name: right[group == name].mean() for name in ("ravi", "tolo")}
    assert metrics["acc1", ""].value == pytest.approx(right.mean())
    for name, share in by_group.items():
        assert metrics["acc1", name].value == pytest.approx(share)
    assert metrics["acc1", "tolo"].n == 60 and metrics["acc1", ""].random == 0.5
    assert metrics["attribute_gap", ""].value == pytest.approx(abs(by_group["ravi"] - by_group["tolo"]))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_bias_does_not_depend_on_the_order_of_images_or_the_axes(seed):
    rng = np.random.default_rng(seed)
    groups = np.array(["x"] * 80 + ["y"] * 40)
    image, labels = rng.normal(size=(120, 6)), rng.normal(size=(3, 6))
    order, turn = rng.permutation(120), np.linalg.qr(rng.normal(size=(6, 6)))[0]

    def associations(image: np.ndarray, groups: np.ndarray, labels: np.ndarray) -> list[float]:
        prompts = {"labels": dict(zip("abc", labels, strict=True)), "groups": dict(zip("xy", labels[:2], strict=True))}
        data = make_set(image, truth={"g": list(groups)}, prompts=prompts)
        tasks = [
            Representation(prompts="labels"),
            Association(prompts="labels", column="g"),
            Recognition(column="g", prompts="groups"),
            Skew(prompts="labels", column="g"),
        ]
        return [row.value for task in tasks for row in measure(task, data).values()]

    np.testing.assert_allclose(
        associations(image[order] @ turn, groups[order], labels @ turn), associations(image, groups, labels), atol=1e-5
    )


def test_small_groups_get_a_mark_instead_of_a_number(people):
    groups = np.where(np.arange(200) < 29, "tolo", "ravi")
    few = make_set(people.image, truth={"group": list(groups)}, prompts=vectors(people))
    for task, metrics in [
        (Association(prompts="labels", column="group"), ["ab_max", "ab_mean"]),
        (Skew(prompts="labels", column="group"), ["max_skew_at_100", "ndkl"]),
        (Recognition(column="group", prompts="groups"), ["acc1", "attribute_gap"]),
    ]:
        measured = measure(task, few, minimum_group=30)
        for metric in metrics:
            row = measured[metric, "tolo (insufficient)"]
            assert (row.value, row.ci_low, row.ci_high, row.n) == (None, None, None, 29)
        assert not any(group == "tolo" for _, group in measured)
    assert measure(Recognition(column="group", prompts="groups"), few, minimum_group=30)["acc1", "ravi"].n == 171
    assert ("ab_max", "") in measure(Association(prompts="labels", column="group"), few, minimum_group=29)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Association(prompts="labels", column="group", values=["ravi", "nobody"]), "no image has the value 'nobody'"),
        (Association(prompts="labels", column="group", values=["ravi", "ravi"]), "a group is named twice"),
        (Association(prompts="lables", column="group"), "did you mean 'labels'"),
        (Representation(prompts="single"), "only one class"),
        (Representation(prompts="groups", targets={"ravi": 1.0}), "targets and values differ in 'tolo'"),
        (Recognition(prompts="labels", column="group"), "the value 'ravi' is not a class"),
        (Skew(prompts="labels", column="same"), "only one group, 'x'"),
        (Skew(prompts="labels", column="group", targets={"ravi": 1.0, "tolo": 0.0}), "a desired share is 0"),
        (Skew(prompts="labels", column="rare"), "60 images are fewer than the 100"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(people, task, message):
    truth = {
        "group": list(people.truth["group"]),
        "same": ["x"] * 200,
        "rare": [("x", "y")[i % 2] if i < 60 else "" for i in range(200)],
    }
    data = make_set(people.image, truth=truth, prompts=vectors(people) | {"single": {"person": np.ones(8)}})
    with pytest.raises(InputError, match=message):
        measure(task, data)
