"""Bias corrected for a classifier's errors: it finds the truth, its intervals hold it, and it says when it cannot."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from evenclip.balance import BalanceOptions, M4Balancer, audit
from evenclip.balance.audit_report import as_text
from evenclip.balance.calibration import read_calibration
from evenclip.errors import InputError

CONFUSION = {"woman": [0.75, 0.15, 0.1], "man": [0.1, 0.7, 0.2]}
"""P(woman, man, abstains | truth)."""
PERCEIVED = np.array(["woman", "man", "abstains"])
RATES = {"nurse": (0.5, 0.2), "pilot": (0.1, 0.2), "cook": (0.3, 0.3)}
"""P(label | woman), P(label | man): the true association bias is 0.3."""


def perceive(rng: np.random.Generator, truth: np.ndarray, confusion: dict = CONFUSION) -> np.ndarray:
    chance = np.array([confusion[value] for value in truth])
    return PERCEIVED[(rng.random(len(truth))[:, None] > chance.cumsum(axis=1)).sum(axis=1)]


def draw(rng: np.random.Generator, n: int = 2000, n_calibrated: int = 300) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """A labels table by the classifier, its calibration set, and the true groups of the former."""
    truth = np.where(rng.random(n) < 0.35, "woman", "man")
    columns = {f"target.{name}": rng.random(n) < np.where(truth == "woman", *rates) for name, rates in RATES.items()}
    said = perceive(rng, truth)
    for value in ("woman", "man"):
        columns[f"image.sensitive.gender.{value}"] = pa.array(said == value, mask=said == "abstains")
    calibrated = np.repeat(["woman", "man"], n_calibrated // 2)
    return (
        pa.table({"key": [str(i) for i in range(n)], **columns}),
        calibration_set(calibrated, perceive(rng, calibrated)),
        truth,
    )


def calibration_set(truth, perceived) -> pa.Table:
    return pa.table({"attribute": ["image.gender"] * len(truth), "truth": truth, "perceived": perceived})


def test_intervals_hold_the_true_bias_in_95_of_100_trials():
    n_trials, inside, errors = 200, {"ab": 0, "rb": 0}, []
    for trial in range(n_trials):
        table, calibration, _ = draw(np.random.default_rng(trial))
        result = audit(table, seed=trial, n_bootstrap=200, calibration=calibration)
        for bias, truth in (("ab", 0.3), ("rb", 0.15)):
            estimate = result["corrected"][bias]["before"]
            inside[bias] += estimate["ci_low"] <= truth <= estimate["ci_high"]
        errors.append([result["ab"]["before"]["value"] - 0.3, result["corrected"]["ab"]["before"]["value"] - 0.3])
    raw, corrected = np.mean(errors, axis=0)
    assert raw < -0.06 and abs(corrected) < 0.01
    for bias, hits in inside.items():
        assert 0.90 <= hits / n_trials <= 0.985, bias


def test_balanced_labels_are_not_taken_for_balanced_groups():
    raw, corrected, true = [], [], []
    for trial in range(8):
        table, calibration, truth = draw(np.random.default_rng(trial), n=8000, n_calibrated=2000)
        balancer = M4Balancer(eps_rep=0.001, eps_rel=0.01).fit(table)
        weights = pa.table({"key": table["key"], "weight": balancer.weight_})
        result = audit(table, weights, n_bootstrap=0, calibration=calibration)
        raw.append(result["ab"]["after"]["value"])
        (nurse,) = [row for row in result["corrected"]["associations"] if row["label"] == "nurse"]
        corrected.append(nurse["after"]["value"] * (1 if nurse["group"].endswith("woman") else -1))
        nurses = table["target.nurse"].to_numpy()
        rates = [np.average(nurses[truth == v], weights=balancer.weight_[truth == v]) for v in ("woman", "man")]
        true.append(rates[0] - rates[1])
    assert max(raw) < 0.02 and min(true) > 0.04
    assert np.mean(corrected) == pytest.approx(np.mean(true), abs=0.01)


def test_a_perfect_classifier_needs_no_correction():
    rng = np.random.default_rng(0)
    table, _, _ = draw(rng)
    truth = np.repeat(["woman", "man"], 50)
    result = audit(table, n_bootstrap=100,
                   calibration=calibration_set(truth, truth))  # fmt: skip
    # rows that were not labelled are left out, as they are without a correction
    for bias in ("rb", "ab"):
        assert result["corrected"][bias]["before"]["value"] == pytest.approx(result[bias]["before"]["value"], abs=1e-12)


def test_strata_of_another_attribute_add_up():
    table, calibration, _ = draw(np.random.default_rng(5), n=4000)
    alone = audit(table, n_bootstrap=0, calibration=calibration)["corrected"]
    said = np.random.default_rng(6).random(4000) < 0.5
    both = table.append_column("text.sensitive.gender.woman", pa.array(said))
    both = both.append_column("text.sensitive.gender.man", pa.array(~said))
    result = audit(both, n_bootstrap=0, calibration=calibration)["corrected"]
    assert result["ab"]["before"]["value"] == pytest.approx(alone["ab"]["before"]["value"], abs=1e-9)
    assert [group["group"] for group in result["groups"]] == [group["group"] for group in alone["groups"]]


@pytest.mark.parametrize(
    ("truth", "perceived", "reason"),
    [
        (["woman", "man"] * 100, ["woman", "woman", "man", "man"] * 50, "told from"),
        (["woman"] * 100 + ["man"] * 20, ["woman"] * 100 + ["man"] * 20, "20 calibrated rows are truly 'man'"),
        (["woman"] * 60 + ["man"] * 60, ["woman"] * 60 + ["abstains"] * 60, "perceived as 'man'"),
    ],
)
def test_what_cannot_be_corrected_is_undefined(truth, perceived, reason):
    table, _, _ = draw(np.random.default_rng(1))
    result = audit(table, n_bootstrap=50, calibration=calibration_set(truth, perceived))
    assert result["corrected"]["ab"]["before"] == {"value": None, "ci_low": None, "ci_high": None}
    assert reason in result["corrected"]["attributes"][0]["undefined"]
    (line,) = [line for line in as_text(result).splitlines() if reason in line]
    assert "correction undefined" in line


def test_a_chance_classifier_is_detected_in_small_samples():
    rng, undefined = np.random.default_rng(3), 0
    table, _, _ = draw(rng)
    for _ in range(40):
        truth = np.repeat(["woman", "man"], 60)
        said = perceive(rng, truth, {"woman": [0.45, 0.45, 0.1], "man": [0.45, 0.45, 0.1]})
        result = audit(table, n_bootstrap=0, calibration=calibration_set(truth, said))
        undefined += result["corrected"]["attributes"][0]["undefined"] is not None
    assert undefined >= 37


def test_the_text_states_the_assumptions_of_the_correction():
    table, calibration, _ = draw(np.random.default_rng(2))
    text = as_text(audit(table, n_bootstrap=50, calibration=calibration))
    (line,) = [line for line in text.splitlines() if "calibrated rows" in line]
    assert "image.gender: 300 calibrated rows, accuracy 0.8" in line and "abstains on 1" in line
    assert any(line.startswith("AB of image.gender, corrected") for line in text.splitlines())


def test_results_without_a_calibration_set_are_as_before():
    table, calibration, _ = draw(np.random.default_rng(4))
    without, with_it = (audit(table, n_bootstrap=50, calibration=given) for given in (None, calibration))
    assert without["corrected"] is None
    assert without | {"corrected": None} == with_it | {"corrected": None}


def test_a_calibration_set_is_read_from_a_csv_file(tmp_path):
    _, calibration, _ = draw(np.random.default_rng(0))
    pacsv.write_csv(calibration, tmp_path / "calibration.csv")
    (from_file,), (from_table,) = read_calibration(tmp_path / "calibration.csv"), read_calibration(calibration)
    assert from_file.truths == from_table.truths == ("man", "woman")
    assert np.array_equal(from_file.count, from_table.count)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"attribute": ["image.gender"], "truth": ["man"]}, "column perceived is missing"),
        ({"attribute": ["image.gender"], "truth": ["man"], "perceived": [None]}, "column perceived has empty values"),
        ({"attribute": ["image.gender"], "truth": ["abstains"], "perceived": ["man"]}, "is no truth"),
        ({"attribute": ["gender"], "truth": ["man"], "perceived": ["man"]}, "no attribute 'gender' in the table"),
    ],
)
def test_a_wrong_calibration_set_is_refused(columns, message):
    table, _, _ = draw(np.random.default_rng(0))
    with pytest.raises(InputError, match=message):
        audit(table, calibration=pa.table(columns))


def test_one_hot_coding_compares_true_groups_with_all_others():
    table, calibration, _ = draw(np.random.default_rng(7), n=20000, n_calibrated=4000)
    options = BalanceOptions(attribute_coding="one_hot")
    result = audit(table, options=options, n_bootstrap=0, calibration=calibration)["corrected"]
    (row,) = [r for r in result["associations"] if r["group"] == "image.gender.woman" and r["label"] == "nurse"]
    assert row["before"]["value"] == pytest.approx(0.3, abs=0.04)
