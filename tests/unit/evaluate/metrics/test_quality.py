"""Zero-shot, retrieval and compositional choice: hand-computed cases, peers and invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import EvaluateOptions, Measurement
from evenclip.evaluate.metrics import retrieval
from evenclip.evaluate.metrics.compositional import Compositional
from evenclip.evaluate.metrics.retrieval import Retrieval
from evenclip.evaluate.metrics.zeroshot import ZeroShot
from evenclip.evaluate.ranking import hit_probability, top_k_hits
from support.evaluate_example import make_set, unit

BOOTSTRAP = Bootstrap(100, 0)


def measure(task: Measurement, data: EmbeddedSet, **options: int) -> dict:
    rows = list(task.measure(data, BOOTSTRAP, EvaluateOptions(**options)))
    by_name = {(row.metric.removeprefix("zeroshot/s/").removeprefix("retrieval/s/"), row.group): row for row in rows}
    assert len(by_name) == len(rows)
    return by_name


def values(task: Measurement, data: EmbeddedSet, **options: int) -> dict[str, float]:
    return {metric: row.value for (metric, _), row in measure(task, data, **options).items()}


def test_hit_probability_without_ties_counts_better_items():
    np.testing.assert_array_equal(hit_probability(5, np.array([0, 4, 5, 9]), 1, 0), [1, 1, 0, 0])


@given(st.integers(1, 6), st.integers(0, 7), st.integers(1, 4), st.integers(0, 8))
def test_hit_probability_is_hypergeometric(k, ahead, own, tied):
    free = min(max(k - ahead, 0), own + tied)
    expected = 1 - math.comb(tied, free) / math.comb(own + tied, free)
    assert hit_probability(k, np.array(ahead), own, tied) == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_top_k_hits_are_the_mean_over_random_orders_of_ties(seed):
    rng = np.random.default_rng(seed)
    scores, right = rng.integers(0, 3, size=(1, 6)).astype(float), rng.integers(0, 6, size=1)
    shuffled = scores + rng.permuted(np.tile(np.arange(6) / 100, (4000, 1)), axis=1)
    drawn = top_k_hits(2, shuffled, np.repeat(right, 4000)).mean()
    assert top_k_hits(2, scores, right)[0] == pytest.approx(drawn, abs=0.04)


@pytest.fixture
def classified() -> EmbeddedSet:
    rng = np.random.default_rng(0)
    classes = {f"c{i}": rng.normal(size=16) for i in range(9)}
    truth = rng.choice(list(classes), size=300, p=np.arange(1, 10) / 45)
    image = np.array([classes[name] for name in truth]) + 1.5 * rng.normal(size=(300, 16))
    return make_set(image, truth={"object": list(truth)}, prompts={"objects": classes})


def test_zero_shot_agrees_with_scikit_learn(classified):
    metrics = values(ZeroShot(column="object", prompts="objects"), classified)
    scores = classified.similarity("objects")
    names = classified.classes("objects").names
    truth = np.array([names.index(name) for name in classified.truth["object"]])
    assert 0.2 < metrics["acc1"] < 0.95
    assert metrics["acc1"] == pytest.approx(top_k_accuracy_score(truth, scores, k=1))
    assert metrics["acc5"] == pytest.approx(top_k_accuracy_score(truth, scores, k=5))
    assert metrics["mean_per_class_recall"] == pytest.approx(balanced_accuracy_score(truth, scores.argmax(axis=1)))


def test_zero_shot_rows_have_chance_n_and_interval(classified):
    metrics = measure(ZeroShot(column="object", prompts="objects"), classified)
    assert metrics["acc1", ""].random == pytest.approx(1 / 9) and metrics["acc5", ""].random == pytest.approx(5 / 9)
    for row in metrics.values():
        assert row.n == 300 and row.ci_low < row.value < row.ci_high


def test_only_a_distractor_class_may_lack_images():
    data = make_set(
        np.eye(3)[[0, 1, 1]], truth={"object": ["a", "b", "b"]}, prompts={"p": dict(zip("abc", np.eye(3), strict=True))}
    )
    with pytest.raises(InputError, match="1 of the classes of p have no image, e.g. 'c'"):
        measure(ZeroShot(column="object", prompts="p"), data)
    metrics = measure(ZeroShot(column="object", prompts="p", distractors=True), data)
    assert metrics["acc1", ""].value == 1 and metrics["acc1", ""].random == pytest.approx(1 / 3)


def test_zero_shot_skips_unlabelled_images_and_trivial_acc5():
    data = make_set(
        np.array([[1, 0], [0, 1], [1, 0.1], [1, 1]]),
        truth={"object": ["a", "b", "b", ""]},
        prompts={"p": {"a": [1, 0], "b": [0, 1]}},
    )
    metrics = measure(ZeroShot(column="object", prompts="p"), data)
    assert set(metrics) == {("acc1", ""), ("mean_per_class_recall", ""), ("true_class_probability", "")}
    assert metrics["acc1", ""].value == pytest.approx(2 / 3) and metrics["acc1", ""].n == 3
    assert metrics["true_class_probability", ""].value == pytest.approx(
        data.probabilities("p")[[0, 1, 2], [0, 1, 1]].mean()
    )
    assert metrics["mean_per_class_recall", ""].value == pytest.approx((1 + 1 / 2) / 2)


def test_a_collapsed_model_scores_chance_not_one():
    n = 40
    same = np.ones((n, 4))
    data = make_set(
        same, truth={"object": ["a", "b", "c", "d"] * 10}, prompts={"p": {name: np.ones(4) for name in "abcd"}},
        text=same, text_image=np.arange(n), foil=same,
    )  # fmt: skip
    assert values(ZeroShot(column="object", prompts="p"), data)["acc1"] == pytest.approx(1 / 4)
    for row in measure(Retrieval(), data).values():
        assert row.value == pytest.approx(row.random)


def plain_recall(image: np.ndarray, text: np.ndarray, text_image: np.ndarray, k: int) -> tuple[float, float]:
    """Image-to-text and text-to-image recall at k, by full sorts in plain Python."""
    to_text = []
    for i in sorted(set(text_image.tolist())):
        ranked = sorted(range(len(text)), key=lambda j: -float(image[i] @ text[j]))
        to_text.append(any(text_image[j] == i for j in ranked[:k]))
    to_image = []
    for j in range(len(text)):
        ranked = sorted(range(len(image)), key=lambda i: -float(image[i] @ text[j]))
        to_image.append(text_image[j] in ranked[:k])
    return float(np.mean(to_text)), float(np.mean(to_image))


@pytest.fixture
def captioned() -> EmbeddedSet:
    """40 images with 0 to 5 captions each, captions in mixed order."""
    rng = np.random.default_rng(4)
    image = rng.normal(size=(40, 12))
    text_image = rng.permutation(np.repeat(np.arange(40), rng.integers(0, 6, size=40)))
    assert len(set(text_image.tolist())) < 40  # some image has no caption
    return make_set(image, text=image[text_image] + rng.normal(size=(len(text_image), 12)), text_image=text_image)


def test_recall_agrees_with_plain_sorting(captioned):
    metrics = values(Retrieval(), captioned)
    for k in (1, 5, 10):
        to_text, to_image = plain_recall(captioned.image, captioned.text, captioned.text_image, k)
        assert metrics[f"image_to_text_recall_at_{k}"] == pytest.approx(to_text)
        assert metrics[f"text_to_image_recall_at_{k}"] == pytest.approx(to_image)
    assert 0 < metrics["image_to_text_recall_at_1"] < metrics["image_to_text_recall_at_10"] < 1


def test_recall_counts_images_one_way_and_captions_the_other(captioned):
    metrics = measure(Retrieval(), captioned)
    assert metrics["image_to_text_recall_at_1", ""].n == len(set(captioned.text_image.tolist()))
    assert metrics["text_to_image_recall_at_1", ""].n == len(captioned.text)
    assert metrics["text_to_image_recall_at_5", ""].random == pytest.approx(5 / 40)


def test_recall_chance_level_is_that_of_random_scores(captioned):
    rng, drawn = np.random.default_rng(5), []
    for _ in range(60):
        text = unit(rng.normal(size=captioned.text.shape))
        drawn.append(plain_recall(captioned.image, text, captioned.text_image, 5)[0])
    expected = measure(Retrieval(), captioned)["image_to_text_recall_at_5", ""].random
    assert np.mean(drawn) == pytest.approx(expected, abs=4 * np.std(drawn) / np.sqrt(60) + 1e-9)


def test_recall_by_hand():
    # captions 0..9 of images 0..9 on the axes; image 0 looks like caption 1, the others like their own
    axes = np.eye(10)
    image = axes.copy()
    image[0] = axes[1] + 0.5 * axes[0]
    metrics = values(Retrieval(), make_set(image, text=axes, text_image=np.arange(10)))
    assert metrics["image_to_text_recall_at_1"] == 0.9 and metrics["image_to_text_recall_at_5"] == 1.0
    assert metrics["text_to_image_recall_at_1"] == 1.0


def test_recall_does_not_depend_on_the_chunks(captioned, monkeypatch):
    whole = values(Retrieval(), captioned)
    monkeypatch.setattr(retrieval, "_BLOCK", 3 * len(captioned.text))
    assert values(Retrieval(), captioned) == pytest.approx(whole)


def rotated(data: EmbeddedSet, seed: int) -> EmbeddedSet:
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(data.image.shape[1],) * 2))[0]
    prompts = {
        stem: dict(zip(c.names, c.embedding.astype(float) @ turn, strict=True)) for stem, c in data.prompts.items()
    }
    text = None if data.text is None else data.text.astype(float) @ turn
    truth = {name: list(column) for name, column in data.truth.items()}
    return make_set(
        data.image.astype(float) @ turn, truth=truth, prompts=prompts, text=text, text_image=data.text_image
    )


def test_rotating_the_space_changes_nothing(classified, captioned):
    task = ZeroShot(column="object", prompts="objects")
    assert values(task, rotated(classified, 1)) == pytest.approx(values(task, classified))
    assert values(Retrieval(), rotated(captioned, 1)) == pytest.approx(values(Retrieval(), captioned))


def test_the_order_of_images_and_captions_changes_nothing(captioned):
    rng = np.random.default_rng(6)
    images, captions = rng.permutation(40), rng.permutation(len(captioned.text))
    position = np.argsort(images)
    moved = make_set(
        captioned.image[images],
        text=captioned.text[captions],
        text_image=position[captioned.text_image[captions]],
    )
    assert values(Retrieval(), moved) == pytest.approx(values(Retrieval(), captioned))


def test_retrieval_says_what_is_missing():
    with pytest.raises(InputError, match="no caption embeddings"):
        measure(Retrieval(), make_set(np.eye(12)))
    with pytest.raises(InputError, match="5 images, too few for recall at 10"):
        measure(Retrieval(), make_set(np.eye(5), text=np.eye(5), text_image=np.arange(5)))


def test_compositional_choice_by_hand():
    image = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [0, 1]])
    text = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [1, 0], [1, 0]])
    foil = np.array([[0, 1], [1, 1], [1, 0], [0, 1], [0, 1], [0, 1]])
    truth = {"probe": ["color", "color", "color", "size", "size", ""]}
    data = make_set(image, truth=truth, text=text, text_image=np.arange(6), foil=foil)
    metrics = measure(Compositional(), data, minimum_group=2)
    assert metrics["compositional/s/color", ""].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics["compositional/s/color", ""].n == 3 and metrics["compositional/s/color", ""].random == 0.5
    assert metrics["compositional/s/size", ""].value == 1.0
    assert len(metrics) == 2


def test_twins_count_only_if_both_are_right():
    image = np.eye(4)[[0, 1, 0, 1, 2, 3]]
    text = np.eye(4)[[0, 1, 0, 0, 2, 3]]  # the second pair has one right, one wrong; in the third both are right
    foil = np.eye(4)[[1, 0, 1, 1, 3, 2]]
    truth = {"probe": ["color"] * 6, "twin": ["0", "0", "2", "2", "1", "1"]}
    data = make_set(image, truth=truth, text=text, text_image=np.arange(6), foil=foil)
    row = measure(Compositional(twins="twin"), data, minimum_group=2)["compositional/s/color", ""]
    assert (row.value, row.n, row.random) == (pytest.approx(2 / 3), 3, 0.25)
    assert values(Compositional(), data, minimum_group=2) == {"compositional/s/color": pytest.approx(5 / 6)}


def test_a_picture_without_a_twin_is_an_error():
    truth = {"probe": ["color"] * 3, "twin": ["0", "0", "1"]}
    data = make_set(np.eye(3), truth=truth, text=np.eye(3), text_image=np.arange(3), foil=np.eye(3)[::-1])
    with pytest.raises(InputError, match="has no twin, or more than one"):
        measure(Compositional(twins="twin"), data, minimum_group=2)


def test_images_without_probe_need_neither_caption_nor_foil():
    truth = {"probe": ["", "color", "", "color"]}
    foil = np.full((4, 4), np.nan)
    foil[[1, 3]] = [1, 0, 0, 0]
    text = np.eye(4)[[1, 2, 2, 3]]
    data = make_set(np.eye(4), truth=truth, text=text, text_image=np.array([1, 2, 2, 3]), foil=foil)
    assert values(Compositional(), data, minimum_group=2) == {"compositional/s/color": 1.0}


def test_rows_of_one_picture_are_resampled_together():
    rng = np.random.default_rng(4)
    image, foil = rng.normal(size=(20, 6)).repeat(3, axis=0), rng.normal(size=(20, 6)).repeat(3, axis=0)
    text = (rng.normal(size=(20, 6))).repeat(3, axis=0)
    arguments = {"text": text, "text_image": np.arange(60), "foil": foil}
    truth = {"probe": ["color"] * 60}
    files = {"sha256": [f"{i // 3}" for i in range(60)]}
    alone, together = (
        measure(Compositional(), make_set(image, truth=columns, **arguments))["compositional/s/color", ""]
        for columns in (truth, truth | files)
    )
    assert alone.value == pytest.approx(together.value)
    assert together.ci_high - together.ci_low > 1.4 * (alone.ci_high - alone.ci_low)


def test_compositional_choice_follows_captions_in_any_order():
    rng = np.random.default_rng(3)
    image, foil, order = rng.normal(size=(30, 6)), rng.normal(size=(30, 6)), rng.permutation(30)
    text = image + rng.normal(size=(30, 6))
    truth = {"probe": ["relation"] * 30}
    straight = make_set(image, truth=truth, text=text, text_image=np.arange(30), foil=foil)
    mixed = make_set(image, truth=truth, text=text[order], text_image=order, foil=foil)
    plain = np.mean([i @ t > i @ f for i, t, f in zip(straight.image, straight.text, straight.foil, strict=True)])
    assert values(Compositional(), straight)["compositional/s/relation"] == pytest.approx(plain)
    assert values(Compositional(), mixed)["compositional/s/relation"] == pytest.approx(plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foil": None}, "lacks caption or foil"),
        ({"text_image": np.array([0, 0, 2])}, "row 0 has 2 captions"),
        ({"truth": {"probe": ["", "", ""]}}, "no image has a probe"),
        ({"foil": np.array([[0, 1, 0], [np.nan] * 3, [1, 0, 0]])}, "row 1 has a probe but no foil"),
    ],
)
def test_compositional_choice_says_what_is_wrong(change, message):
    sound = {"truth": {"probe": ["color"] * 3}, "text": np.eye(3), "text_image": np.arange(3), "foil": np.eye(3)}
    with pytest.raises(InputError, match=message):
        measure(Compositional(), make_set(np.eye(3), **sound | change))
