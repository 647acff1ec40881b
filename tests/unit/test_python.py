"""The package in Python: audit and balance a table, evaluate arrays, overall and by group."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

import evenclip
from evenclip.balance import BalanceOptions
from evenclip.balance import balance as balance_into
from evenclip.errors import InputError
from evenclip.tables import read_table

FORM = {"attributes": ["gender"], "labels": ["nurse"], "key": "photo"}


def photos(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    woman = rng.random(n) < 0.4
    nurse = rng.random(n) < np.where(woman, 0.4, 0.2)
    names = [f"{i}.jpg" for i in range(n)]
    return pd.DataFrame({"photo": names, "gender": np.where(woman, "woman", "man"), "nurse": nurse})


def test_balance_gives_the_weights_of_the_command(tmp_path):
    frame = photos()
    woman = frame["gender"] == "woman"
    wide = {"key": frame["photo"], "sensitive.gender.man": ~woman, "sensitive.gender.woman": woman}
    pd.DataFrame(wide | {"target.nurse": frame["nurse"]}).to_parquet(tmp_path / "labels.parquet")
    balance_into(tmp_path / "labels.parquet", tmp_path / "out", BalanceOptions(eps_rel=0.01))
    expected = read_table(tmp_path / "out/weights.parquet")
    balanced = evenclip.balance(frame, **FORM, eps_rel=0.01)
    assert (balanced.weight_ == expected["weight"].to_numpy()).all()
    assert (balanced.copies_ == expected["copies"].to_numpy()).all()
    audited = evenclip.audit(frame, expected, **FORM)
    assert audited["rb"]["after"]["value"] < audited["rb"]["before"]["value"]


def test_names_are_there_without_importing_anything():
    heavy = "{'torch', 'numpy', 'pandas', 'evenclip.balance', 'evenclip.evaluate'} & set(sys.modules)"
    code = f"import sys, evenclip; assert not {heavy}, {heavy}\nfor name in evenclip.__all__: getattr(evenclip, name)\n"
    code += "assert callable(evenclip.audit) and callable(evenclip.balance) and callable(evenclip.evaluate)\n"
    code += "assert 'torch' not in sys.modules and 'balance' in dir(evenclip)\n"
    code += "from evenclip.balance.run import balance"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'balanse'"):
        _ = evenclip.balanse


def embedded(n: int = 400, n_classes: int = 7):
    rng = np.random.default_rng(1)
    texts = rng.normal(size=(n_classes, 16))
    labels, groups = rng.integers(n_classes, size=n), rng.choice(["a", "b"], n)
    noise = np.where(groups == "a", 0.8, 2.5)[:, None]  # group b is recognised less well
    return texts[labels] + noise * rng.normal(size=(n, 16)), texts, labels, groups


def predictions(images, texts) -> np.ndarray:
    return (images @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T).argmax(axis=1)


def test_evaluate_measures_overall_and_by_group():
    fairlearn = pytest.importorskip("fairlearn.metrics")
    images, texts, labels, groups = embedded()
    result = evenclip.evaluate(images, texts, labels=labels, groups=groups, resamples=100)
    chosen = predictions(images, texts)
    frame = fairlearn.MetricFrame(metrics=accuracy_score, y_true=labels, y_pred=chosen, sensitive_features=groups)
    assert result.overall["acc1"] == pytest.approx(frame.overall)
    assert result.by_group["acc1"].to_dict() == pytest.approx(frame.by_group.to_dict())
    assert result.difference()["acc1"] == pytest.approx(frame.difference())
    assert result.ratio()["acc1"] == pytest.approx(frame.ratio()) and "n" not in result.ratio()
    assert result.overall["worst_group_accuracy"] == pytest.approx(frame.group_min())
    assert result.by_group["n"].sum() == len(labels)
    interval = result.intervals.loc["acc1"]
    assert interval["ci_low"] < result.overall["acc1"] < interval["ci_high"] and interval["random"] == 1 / 7


def test_evaluate_takes_tensors_names_and_templates():
    torch = pytest.importorskip("torch")
    images, texts, labels, groups = embedded()
    expected = evenclip.evaluate(images, texts, labels=labels, groups=groups, resamples=100)
    classes = [f"c{i}" for i in range(len(texts))]
    names = [classes[label] for label in labels]
    tensors = torch.tensor(images, requires_grad=True), torch.tensor(np.stack([texts, texts]))
    result = evenclip.evaluate(*tensors, labels=names, groups=groups, classes=classes, resamples=100)
    pd.testing.assert_series_equal(result.overall, expected.overall)


def test_unknown_and_small_groups_have_no_value():
    images, texts, labels, groups = embedded()
    groups = groups.astype(object)
    groups[:50] = None
    groups[50:60] = "c"
    result = evenclip.evaluate(images, texts, labels=labels, groups=groups, resamples=100)
    assert list(result.by_group.index) == ["a", "b", "c"] and result.by_group["n"].sum() == 350
    assert np.isnan(result.by_group.loc["c", "acc1"]) and result.by_group.loc["c", "n"] == 10


def test_evaluate_without_groups_has_no_bias():
    images, texts, labels, _ = embedded()
    result = evenclip.evaluate(images, texts, labels=labels, resamples=100)
    assert {"acc1", "acc5", "mean_per_class_recall"} <= {*result.overall.index} and result.by_group.empty
    assert not [name for name in result.overall.index if "group" in name or "difference" in name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.ones((400, 3))}, "images have 3 dimensions, texts 16"),
        ({"images": np.zeros((400, 16))}, "zero or not finite"),
        ({"labels": [9] * 400}, "'9' is not a class"),
        ({"groups": ["a"]}, r"shape \(1,\) for 400 images"),
        ({"classes": ["x"]}, "1 classes for 7 texts"),
    ],
)
def test_wrong_arrays_are_errors(change, message):
    images, texts, labels, groups = embedded()
    with pytest.raises(InputError, match=message):
        evenclip.evaluate(**{"images": images, "texts": texts, "labels": labels, "groups": groups} | change)
