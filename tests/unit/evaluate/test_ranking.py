"""Fairness of retrieval: skew, NDKL, Bias@k and entropy by hand, against plain re-computations and other packages."""

import math

import numpy as np
import pandas as pd
import pytest

from evenclip.errors import InputError
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.metrics.bias_at_k import BiasAtK
from evenclip.evaluate.metrics.retrieval_entropy import RetrievalEntropy
from evenclip.evaluate.metrics.skew import Divergence, Skew, _skews
from evenclip.evaluate.ranking import Rankings
from support.evaluate_example import biased_people, make_set, measure


@pytest.fixture
def people() -> EmbeddedSet:
    return biased_people()


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
    metrics = measure(Skew(prompts="labels", column="group", targets=targets), people)
    scores, groups = people.similarity("labels"), people.truth["group"].tolist()
    desired = targets or {"ravi": 0.7, "tolo": 0.3}
    plain = [plain_skew(scores[:, label], groups, desired, 100) for label in range(3)]
    assert metrics["max_skew_at_100", ""].value == pytest.approx(np.mean([skew for skew, _ in plain]))
    assert metrics["ndkl", ""].value == pytest.approx(np.mean([ndkl for _, ndkl in plain]))


def test_skew_of_a_separated_ranking_by_hand():
    # all 100 of "a" come first: share 1 against the desired 1/2
    image = np.concatenate([np.tile([1.0, 0.0], (100, 1)), np.tile([0.0, 1.0], (100, 1))])
    data = make_set(
        image, truth={"g": ["a"] * 100 + ["b"] * 100}, prompts={"labels": {"baker": [1, 0.1], "smith": [1, 0.2]}}
    )
    metrics = measure(Skew(prompts="labels", column="g"), data)
    assert metrics["max_skew_at_100", ""].value == pytest.approx(math.log(2))


def collapsed() -> EmbeddedSet:
    """A model that gives every image the same embedding, on a set that is sorted by group."""
    prompts = {"labels": {f"label{i}": [1, i / 10] for i in range(8)}}
    return make_set(np.ones((600, 2)), truth={"g": ["a"] * 300 + ["b"] * 300}, prompts=prompts)


@pytest.mark.parametrize(("task", "metric"), [
    (Skew(prompts="labels", column="g"), "max_skew_at_100"),
    (Skew(prompts="labels", column="g"), "ndkl"),
    (BiasAtK(prompts="labels", column="g", values=["a", "b"]), "bias_at_100"),
    (RetrievalEntropy(prompts="labels", column="g"), "retrieval_entropy_at_100"),
])  # fmt: skip
def test_a_collapsed_model_scores_chance_on_a_sorted_set(task, metric):
    row = measure(task, collapsed())[metric, ""]
    assert row.value == pytest.approx(row.random, abs=0.1)
    assert row == measure(task, collapsed())[metric, ""]


def test_every_resample_keeps_the_shares_of_the_groups():
    # of 100 images all are among the first 100: with shares kept there is nothing to be skewed in any resample
    rng = np.random.default_rng(0)
    prompts = {"labels": {"baker": rng.normal(size=4), "smith": rng.normal(size=4)}}
    data = make_set(rng.normal(size=(100, 4)), truth={"g": ["a"] * 90 + ["b"] * 10}, prompts=prompts)
    row = measure(Skew(prompts="labels", column="g"), data)["max_skew_at_100", ""]
    assert (row.ci_low, row.value, row.ci_high) == (pytest.approx(0), pytest.approx(0), pytest.approx(0))


def test_resamples_agree_with_explicit_resampling(people):
    rng = np.random.default_rng(0)
    groups, scores = people.truth["group"], people.similarity("labels")
    codes, desired = (groups == "tolo").astype(int), np.array([0.7, 0.3])
    ranked = Rankings.of(scores, codes, 2, 100, "here", 0)
    counts = rng.multinomial(200, np.full(200, 1 / 200), size=20)
    skew = _skews(ranked._shares(counts), desired, 100)[..., 0].mean(axis=1)
    ndkl = Divergence(codes, desired).of(ranked.orders, counts)
    for b in range(20):
        drawn = np.repeat(np.arange(200), counts[b])
        plain = [
            plain_skew(scores[drawn, label], groups[drawn].tolist(), {"ravi": 0.7, "tolo": 0.3}, 100)
            for label in range(3)
        ]
        np.testing.assert_allclose([skew[b], ndkl[b]], np.mean(plain, axis=0))


def test_skew_and_ndkl_agree_with_other_implementations(people):
    ndkl = pytest.importorskip("FairRankTune.Metrics.NDKL", reason="FairRankTune is not installed").NDKL
    metrics = measure(Skew(prompts="labels", column="group"), people)
    order = np.argsort(-people.similarity("labels"), axis=0, kind="stable")
    group = dict(enumerate(people.truth["group"].tolist()))
    theirs = [ndkl(pd.DataFrame({0: order[:, label]}), group) for label in range(3)]
    assert metrics["ndkl", ""].value == pytest.approx(np.mean(theirs), abs=1e-5)  # they add 1e-7 to every share


def test_min_skew_by_hand():
    # of the first 4: three of a, one of b; desired 1/2 each
    image = np.array([[4, 1], [4, 2], [4, 3], [4, 4], [4, 5], [4, 6], [4, 7], [4, 8]])
    data = make_set(image, truth={"g": list("aaabbbab")}, prompts={"labels": {"x": [1, 0], "y": [1, 0.01]}})
    metrics = measure(Skew(prompts="labels", column="g", k=4), data)
    assert metrics["max_skew_at_4", ""].value == pytest.approx(math.log(0.75 / 0.5))
    assert metrics["min_skew_at_4", ""].value == pytest.approx(math.log(0.25 / 0.5))
    metrics = measure(Skew(prompts="labels", column="g", k=3), data)  # nobody of b: counts as half an image of 3
    assert metrics["min_skew_at_3", ""].value == pytest.approx(math.log(0.5 / 3 / 0.5))


def test_chance_of_a_ranking_is_that_of_random_rankings():
    rng, groups = np.random.default_rng(2), ["a"] * 90 + ["b"] * 60
    task, values = Skew(prompts="labels", column="g", k=20), []
    for _ in range(60):
        prompts = {"labels": dict(zip("xy", rng.normal(size=(2, 40)), strict=True))}
        data = make_set(rng.normal(size=(150, 40)), truth={"g": groups}, prompts=prompts)
        metrics = measure(task, data, resamples=1)
        values.append([metrics[metric, ""].value for metric in ("max_skew_at_20", "min_skew_at_20", "ndkl")])
    expected = [metrics[metric, ""].random for metric in ("max_skew_at_20", "min_skew_at_20", "ndkl")]
    error = np.std(values, axis=0) / np.sqrt(60)
    assert (np.abs(np.mean(values, axis=0) - expected) < 4 * error).all() and min(np.abs(expected)) > 0.01


def ranked_set(groups: str) -> EmbeddedSet:
    """Images that two labels rank in the order of ``groups``; '-' = no value."""
    angle = np.linspace(0.1, 1, len(groups))
    image = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    truth = {"g": ["" if group == "-" else group for group in groups]}
    return make_set(image, truth=truth, prompts={"labels": {"x": [1, 0], "y": [1, 0.01]}})


def test_bias_at_k_by_hand():
    data = ranked_set("aa-ba-bbbb-a")
    task = BiasAtK(prompts="labels", column="g", values=["a", "b"], k=5)
    row = measure(task, data)["bias_at_5", ""]
    assert row.value == pytest.approx((3 - 1) / 4) and row.n == 12  # a a - b a: neutral images keep their places
    assert measure(task.model_copy(update={"values": ["b", "a"]}), data)["bias_at_5", ""].value == -row.value
    metrics = measure(BiasAtK(prompts="labels", column="g", values=["a", "b"], k=1), ranked_set("-aabb"), 2)
    assert metrics["bias_at_1", ""].value == 0  # neither is there
    assert abs(row.random) < 0.15


def test_retrieval_entropy_by_hand():
    metrics = measure(RetrievalEntropy(prompts="labels", column="g", k=4), ranked_set("aaabbbcccabc"))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    assert metrics["retrieval_entropy_at_4", ""].value == pytest.approx(expected)
    assert metrics["retrieval_entropy_at_4", "x"].value == pytest.approx(expected)
    even = measure(RetrievalEntropy(prompts="labels", column="g", k=3), ranked_set("abcaabbcc"))
    assert even["retrieval_entropy_at_3", ""].value == pytest.approx(1)
    alone = measure(RetrievalEntropy(prompts="labels", column="g", k=3), ranked_set("aaabbbccc"))
    assert alone["retrieval_entropy_at_3", ""].value == 0 < alone["retrieval_entropy_at_3", ""].random


@pytest.mark.parametrize("task", [
    Skew(prompts="labels", column="g", k=13), RetrievalEntropy(prompts="labels", column="g", k=13),
    BiasAtK(prompts="labels", column="g", values=["a", "b"], k=13),
])  # fmt: skip
def test_more_places_than_images_is_an_error(task):
    with pytest.raises(InputError, match="12 images are fewer than the 13 ranked first"):
        measure(task, ranked_set("ababababaabb"))
