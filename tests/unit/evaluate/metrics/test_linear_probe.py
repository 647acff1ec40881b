"""Linear and few-shot probe: what is learnt, what is never looked at, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from evenclip.errors import InputError
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.metrics import linear_probe
from evenclip.evaluate.metrics.linear_probe import LinearProbe, _by_class
from support.evaluate_example import make_set, measure


def labelled(n: int, noise: float, seed: int = 0, n_classes: int = 4) -> EmbeddedSet:
    """Images around one direction for each class; every file is another."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    image = np.eye(12)[codes] + noise * rng.normal(size=(n, 12))
    truth = {"c": [f"c{code}" for code in codes], "sha256": [str(i) for i in range(n)]}
    return make_set(image, truth=truth)


def test_separable_classes_are_found_and_random_ones_are_not():
    metrics = measure(LinearProbe(column="c"), labelled(400, 0.1))
    assert metrics["acc1", ""].value == metrics["mean_per_class_recall", ""].value == 1
    assert metrics["acc1", ""].n == 120 and metrics["acc1", ""].random == 0.25
    noise = labelled(400, 0.1)
    shuffled = np.random.default_rng(1).permutation(noise.truth["c"])
    noise = replace(noise, truth=noise.truth | {"c": shuffled})
    assert 0.1 < measure(LinearProbe(column="c"), noise)["acc1", ""].value < 0.42


def test_more_shots_are_better_and_all_images_are_best():
    data = labelled(800, 0.5)
    accuracy = [
        measure(LinearProbe(column="c", shots=shots), data)[f"acc1_at_{shots}", ""].value for shots in (2, 10, 50)
    ]
    everything = measure(LinearProbe(column="c"), data)["acc1", ""].value
    assert accuracy[0] < accuracy[1] < everything + 0.05 and accuracy[2] > accuracy[0] + 0.05


def test_linear_probe_equals_scikit_learn_on_the_train_split(monkeypatch):
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(linear_probe, "STRENGTHS", np.array([10.0]))
    test, train = labelled(200, 0.5, seed=1), labelled(400, 0.5, seed=2)
    data = replace(test, train=train)
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(train.image, train.truth["c"])
    expected = fitted.score(test.image, test.truth["c"])
    metrics = measure(LinearProbe(column="c", train_split="train"), data)
    assert metrics["acc1", ""].value == pytest.approx(expected, abs=0.011) and metrics["acc1", ""].n == 200


def test_test_images_take_no_part_in_the_training():
    train, test = labelled(200, 0.5, seed=2), labelled(100, 0.5, seed=1)
    # a column of the test images only would be found, if anything were fitted to them
    first = measure(LinearProbe(column="c", train_split="t"), replace(test, train=train))
    half = replace(test, image=test.image[:50], truth={name: values[:50] for name, values in test.truth.items()})
    rest = replace(test, image=test.image[50:], truth={name: values[50:] for name, values in test.truth.items()})
    parts = [
        measure(LinearProbe(column="c", train_split="t"), replace(part, train=train))["acc1", ""].value
        for part in (half, rest)
    ]
    assert first["acc1", ""].value == pytest.approx(np.mean(parts))


def test_sides_are_split_by_class_with_copies_of_a_file_together():
    codes = np.repeat([0, 1], [100, 40])
    copies = np.array([f"f{i // 2}" for i in range(140)])
    is_test = _by_class(codes, copies, seed=0)
    assert is_test[codes == 0].sum() == 30 and is_test[codes == 1].sum() == 12
    assert (is_test[0::2] == is_test[1::2]).all()
    assert not (is_test == _by_class(codes, copies, seed=1)).all()
    np.testing.assert_array_equal(is_test, _by_class(codes, copies, seed=0))


def test_the_same_seed_gives_the_same_probe():
    data = labelled(200, 0.6)
    assert measure(LinearProbe(column="c", shots=5), data) == measure(LinearProbe(column="c", shots=5), data)


@pytest.mark.parametrize(("task", "change", "message"), [
    (LinearProbe(column="c", shots=30), {}, "has 14 training images, fewer than 30 shots"),
    (LinearProbe(column="c", train_split="train"), {}, "no embeddings of the split 'train'"),
    (LinearProbe(column="c"), {"c": ["x"] * 80}, "1 class"),
    (LinearProbe(column="c"), {"c": ["x"] * 78 + ["rare"] * 2}, "class 'rare' has 1 training image"),
])  # fmt: skip
def test_what_cannot_be_probed_is_one_clear_error(task, change, message):
    data = labelled(80, 0.5)
    data = replace(data, truth=data.truth | {name: np.array(values) for name, values in change.items()})
    with pytest.raises(InputError, match=message):
        measure(task, data)


def test_a_test_class_without_training_images_is_an_error():
    test, train = labelled(80, 0.5), labelled(80, 0.5)
    train = replace(train, truth=train.truth | {"c": np.where(train.truth["c"] == "c3", "", train.truth["c"])})
    with pytest.raises(InputError, match="the value 'c3' is not a class"):
        measure(LinearProbe(column="c", train_split="train"), replace(test, train=train))
