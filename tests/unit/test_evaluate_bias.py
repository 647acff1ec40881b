"""Bias metrics: hand-computed cases, slow plain re-computations, invariances, and small groups without numbers."""

import math

import numpy as np
import pytest
from evaluate_example import make_set
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from evenclip.errors import InputError
from evenclip.evaluate.association import Association
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import EvaluateOptions, Measurement
from evenclip.evaluate.recognition import Recognition
from evenclip.evaluate.representation import Representation
from evenclip.evaluate.skew import Skew
from evenclip.records import MetricRow

BOOTSTRAP = Bootstrap(200, 0)


def measure(task: Measurement, data: EmbeddedSet, minimum_group: int = 2) -> dict[tuple[str, str], MetricRow]:
    rows = list(task.measure(data, BOOTSTRAP, EvaluateOptions(minimum_group=minimum_group)))
    found = {(row.metric.removeprefix("bias/s/").removeprefix("recognition/s/"), row.group): row for row in rows}
    assert len(found) == len(rows)
    return found


def vectors(data: EmbeddedSet) -> dict:
    """The set's prompts as `make_set` takes them."""
    return {stem: dict(zip(c.names, c.embedding, strict=True)) for stem, c in data.prompts.items()}


@pytest.fixture
def people() -> EmbeddedSet:
    """200 images of two groups, unequal in number; group and label directions overlap, so there is bias to find."""
    rng = np.random.default_rng(0)
    groups = ["ravi"] * 140 + ["tolo"] * 60
    directions = {"ravi": rng.normal(size=8), "tolo": rng.normal(size=8)}
    labels = {
        "baker": directions["ravi"] + rng.normal(size=8),
        "smith": rng.normal(size=8),
        "guard": rng.normal(size=8),
    }
    image = np.array([directions[group] for group in groups]) + rng.normal(size=(200, 8))
    return make_set(image, truth={"group": groups}, prompts={"groups": directions, "labels": labels})


def test_rb_by_hand():
    # two prompts on the axes, scale ln 3: an image on an axis has f = (3/4, 1/4); on the diagonal (1/2, 1/2)
    data = make_set(
        np.array([[1, 0], [1, 0], [1, 0], [1, 1]]),
        prompts={"g": {"a": [1, 0], "b": [0, 1]}},
        logit_scale=math.log(3),
    )
    found = measure(Representation(prompts="g"), data)
    assert found["rb", ""].value == pytest.approx((3 * 0.75 + 0.5) / 4 - 0.5)
    assert found["rb_hard", ""].value == pytest.approx(3.5 / 4 - 0.5)  # the tie counts half for each
    found = measure(Representation(prompts="g", targets={"a": 0.25, "b": 0.75}), data)
    assert found["rb", ""].value == pytest.approx((3 * 0.75 + 0.5) / 4 - 0.25)


def test_rb_of_two_values_is_half_the_mean_parity(people):
    f = softmax(people.logit_scale * people.similarity("groups").astype(float), axis=1)
    parity = (f[:, 0] - f[:, 1]).mean()
    assert measure(Representation(prompts="groups"), people)["rb", ""].value == pytest.approx(abs(parity) / 2)


def test_an_added_logit_bias_would_change_nothing(people):
    logits = people.logit_scale * people.similarity("groups").astype(float)
    np.testing.assert_allclose(softmax(logits - 10.0, axis=1), people.probabilities("groups"), atol=1e-12)


def test_hard_rb_is_the_limit_of_soft_rb(people):
    sharp = make_set(people.image, prompts=vectors(people), logit_scale=1e7)
    found = measure(Representation(prompts="groups"), sharp)
    assert found["rb", ""].value == pytest.approx(found["rb_hard", ""].value, abs=1e-3)


def test_ab_agrees_with_its_definition(people):
    found = measure(Association(prompts="labels", column="group", values=["ravi", "tolo"]), people)
    f, group = people.probabilities("labels"), people.truth["group"]
    expected = f[group == "ravi"].mean(axis=0) - f[group == "tolo"].mean(axis=0)
    for label, value in zip(("baker", "smith", "guard"), expected, strict=True):
        row = found["ab", label]
        assert row.value == pytest.approx(value) and row.n == 200 and row.ci_low < row.value < row.ci_high
    assert found["ab_max", ""].value == pytest.approx(np.abs(expected).max())
    assert found["ab_mean", ""].value == pytest.approx(np.abs(expected).mean())
    assert expected.sum() == pytest.approx(0, abs=1e-9)
    assert found["ab_max", ""].value > 0.05


def test_ab_by_hand():
    data = make_set(
        np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]]),
        truth={"group": ["x", "x", "y", "y", "z"]},
        prompts={"labels": {"baker": [1, 0], "smith": [0, 1]}},
        logit_scale=math.log(3),
    )
    found = measure(Association(prompts="labels", column="group", values=["x", "y"]), data)
    assert found["ab", "baker"].value == pytest.approx(0.75 - 0.25)
    assert found["ab", "smith"].value == pytest.approx(0.25 - 0.75)
    assert found["ab_max", ""].value == pytest.approx(0.5) and found["ab_max", ""].n == 4


def test_ab_changes_sign_with_the_order_of_values_and_defaults_to_the_two(people):
    one = measure(Association(prompts="labels", column="group", values=["ravi", "tolo"]), people)
    other = measure(Association(prompts="labels", column="group", values=["tolo", "ravi"]), people)
    assert one["ab", "baker"].value == pytest.approx(-other["ab", "baker"].value)
    assert one["ab_max", ""].value == pytest.approx(other["ab_max", ""].value)
    assert measure(Association(prompts="labels", column="group"), people) == one


def test_recognition_agrees_with_plain_counting(people):
    found = measure(Recognition(column="group", prompts="groups"), people)
    chosen = np.array(["ravi", "tolo"])[people.similarity("groups").argmax(axis=1)]
    right, group = chosen == people.truth["group"], people.truth["group"]
    by_group = {name: right[group == name].mean() for name in ("ravi", "tolo")}
    assert found["acc1", ""].value == pytest.approx(right.mean())
    for name, share in by_group.items():
        assert found["acc1", name].value == pytest.approx(share)
    assert found["acc1", "tolo"].n == 60 and found["acc1", ""].random == 0.5
    assert found["attribute_gap", ""].value == pytest.approx(abs(by_group["ravi"] - by_group["tolo"]))


def plain_skew(scores: np.ndarray, groups: list[str], desired: dict[str, float], k: int) -> tuple[float, float]:
    """MaxSkew@k and NDKL of one ranking, term by term."""
    ranked = [groups[i] for i in sorted(range(len(groups)), key=lambda i: -scores[i])]
    skew = max(math.log(max(ranked[:k].count(g) / k, 1e-300) / share) for g, share in desired.items())
    total = z = 0.0
    for i in range(1, len(ranked) + 1):
        shares = {g: ranked[:i].count(g) / i for g in desired}
        kl = sum(s * math.log(s / desired[g]) for g, s in shares.items() if s > 0)
        total += kl / math.log2(i + 1)
        z += 1 / math.log2(i + 1)
    return skew, total / z


@pytest.mark.parametrize("targets", [None, {"ravi": 0.5, "tolo": 0.5}])
def test_skew_and_ndkl_agree_with_term_by_term_sums(people, targets):
    found = measure(Skew(prompts="labels", column="group", targets=targets), people)
    scores, groups = people.similarity("labels"), people.truth["group"].tolist()
    desired = targets or {"ravi": 0.7, "tolo": 0.3}
    plain = [plain_skew(scores[:, label], groups, desired, 100) for label in range(3)]
    assert found["max_skew_at_100", ""].value == pytest.approx(np.mean([skew for skew, _ in plain]))
    assert found["ndkl", ""].value == pytest.approx(np.mean([ndkl for _, ndkl in plain]))


def test_skew_of_a_separated_ranking_by_hand():
    # all 100 of "a" come first: share 1 against the desired 1/2
    image = np.concatenate([np.tile([1.0, 0.0], (100, 1)), np.tile([0.0, 1.0], (100, 1))])
    data = make_set(
        image, truth={"g": ["a"] * 100 + ["b"] * 100}, prompts={"labels": {"baker": [1, 0.1], "smith": [1, 0.2]}}
    )
    found = measure(Skew(prompts="labels", column="g"), data)
    assert found["max_skew_at_100", ""].value == pytest.approx(math.log(2))


def test_every_resample_keeps_the_shares_of_the_groups():
    # of 100 images all are among the first 100: with shares kept there is nothing to be skewed in any resample
    rng = np.random.default_rng(0)
    prompts = {"labels": {"baker": rng.normal(size=4), "smith": rng.normal(size=4)}}
    data = make_set(rng.normal(size=(100, 4)), truth={"g": ["a"] * 90 + ["b"] * 10}, prompts=prompts)
    row = measure(Skew(prompts="labels", column="g"), data)["max_skew_at_100", ""]
    assert (row.ci_low, row.value, row.ci_high) == (pytest.approx(0), pytest.approx(0), pytest.approx(0))


def test_skew_resamples_agree_with_explicit_resampling(people):
    from evenclip.evaluate.skew import _skews

    rng = np.random.default_rng(0)
    groups = people.truth["group"]
    codes = (groups == "tolo").astype(int)
    scores = people.similarity("labels")
    orders = np.argsort(-scores, axis=0, kind="stable").T
    counts = rng.multinomial(200, np.full(200, 1 / 200), size=2)
    found = _skews(orders, codes, np.array([0.7, 0.3]), counts)
    for b in range(2):
        drawn = np.repeat(np.arange(200), counts[b])
        plain = [
            plain_skew(scores[drawn, label], groups[drawn].tolist(), {"ravi": 0.7, "tolo": 0.3}, 100)
            for label in range(3)
        ]
        np.testing.assert_allclose(found[b], np.mean(plain, axis=0))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_bias_does_not_depend_on_the_order_of_images_or_the_axes(seed):
    rng = np.random.default_rng(seed)
    groups = np.array(["x"] * 80 + ["y"] * 40)
    image, labels = rng.normal(size=(120, 6)), rng.normal(size=(3, 6))
    order, turn = rng.permutation(120), np.linalg.qr(rng.normal(size=(6, 6)))[0]

    def found(image: np.ndarray, groups: np.ndarray, labels: np.ndarray) -> list[float]:
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
        found(image[order] @ turn, groups[order], labels @ turn), found(image, groups, labels), atol=1e-5
    )


def test_small_groups_get_a_mark_instead_of_a_number(people):
    groups = np.where(np.arange(200) < 29, "tolo", "ravi")
    few = make_set(people.image, truth={"group": list(groups)}, prompts=vectors(people))
    for task, metrics in [
        (Association(prompts="labels", column="group"), ["ab_max", "ab_mean"]),
        (Skew(prompts="labels", column="group"), ["max_skew_at_100", "ndkl"]),
        (Recognition(column="group", prompts="groups"), ["acc1", "attribute_gap"]),
    ]:
        found = measure(task, few, minimum_group=30)
        for metric in metrics:
            row = found[metric, "tolo (insufficient)"]
            assert (row.value, row.ci_low, row.ci_high, row.n) == (None, None, None, 29)
        assert not any(group == "tolo" for _, group in found)
    assert measure(Recognition(column="group", prompts="groups"), few, minimum_group=30)["acc1", "ravi"].n == 171
    assert ("ab_max", "") in measure(Association(prompts="labels", column="group"), few, minimum_group=29)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Association(prompts="labels", column="group", values=["ravi", "nobody"]), "no image has the value 'nobody'"),
        (Association(prompts="labels", column="group", values=["ravi", "ravi"]), "compares two values, not 1"),
        (Association(prompts="labels", column="three"), "compares two values, not 3"),
        (Association(prompts="lables", column="group"), "did you mean 'labels'"),
        (Representation(prompts="single"), "one class only"),
        (Representation(prompts="groups", targets={"ravi": 1.0}), "targets and values differ in 'tolo'"),
        (Recognition(prompts="labels", column="group"), "the value 'ravi' is no class"),
        (Skew(prompts="labels", column="same"), r"1 group\(s\) only"),
        (Skew(prompts="labels", column="group", targets={"ravi": 1.0, "tolo": 0.0}), "a desired share is 0"),
        (Skew(prompts="labels", column="rare"), "60 images are fewer than the 100"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(people, task, message):
    truth = {
        "group": list(people.truth["group"]),
        "three": [("x", "y", "z")[i % 3] for i in range(200)],
        "same": ["x"] * 200,
        "rare": [("x", "y")[i % 2] if i < 60 else "" for i in range(200)],
    }
    data = make_set(people.image, truth=truth, prompts=vectors(people) | {"single": {"person": np.ones(8)}})
    with pytest.raises(InputError, match=message):
        measure(task, data)
