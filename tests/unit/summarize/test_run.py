"""Summaries over seeds and tests between runs, against scipy, hand-computed cases and files with faults."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from evenclip.digests import sha256_file, with_digest
from evenclip.errors import InputError
from evenclip.provenance import write_json
from evenclip.summarize import summarize_study
from evenclip.tables import MetricRow, write_table

RUNS = {"base": "none", "even": "m4"}


def write_study(root, seeds, metric_rows=None):
    """A study of two runs; the metric's value is 0.5 - 0.1 * (run even) + 0.01 * seed."""
    results = root / "results" / "tiny"
    for position, (run, strategy) in enumerate(RUNS.items()):
        write_json({"strategy": strategy, "rb_before": 0.3, "rb_after": 0.3 - 0.2 * position, "ab_before": 0.4,
                    "ab_after": 0.4 - 0.3 * position, "n": 500, "ess": 480.0, "pairs": [1, 2]},
                   results / "balance" / strategy / "report.json")  # fmt: skip
        for seed in seeds:
            train = results / "train" / run / f"seed{seed}"
            options = {"lr": 0.001 * (position + 1), "samples_seen": 640, "device": "cpu"}
            write_json({"strategy": strategy, "options": options}, train / "manifest.json")
            curve = {"step": [1, 3, 2], "samples_seen": [64, 192, 128], "loss": [3.0, 1.0 + seed, 2.0],
                     "samples_per_second": [10.0, 110.0, 90.0]}  # fmt: skip
            write_table(pa.table(curve), train / "history.parquet")
            value = 0.5 - 0.1 * position + 0.01 * seed
            rows = metric_rows(value) if metric_rows else [
                MetricRow("zeroshot/objects/acc1", value, value - 0.05, value + 0.05, 200, random=0.25),
                MetricRow("bias/objects/ab", value, value - 0.1, value + 0.1, 200, group="baker"),
                MetricRow("bias/objects/rb", None, None, None, 12, group="tolo (insufficient)"),
            ]  # fmt: skip
            document = {"manifest": {}, "metrics": [row.as_dict() for row in rows]}
            write_json(with_digest(document), results / "evaluate" / run / f"seed{seed}" / "objects.json")
    return results


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary_of(results, run="base"):
    return {(r["metric"], r["group"]): r for r in read_rows(results / "summary.csv") if r["run"] == run}


def test_mean_sd_and_t_interval_over_seeds(tmp_path):
    results = write_study(tmp_path, [0, 1, 2])
    summarize_study(results, list(RUNS), [0, 1, 2])
    row = summary_of(results)["zeroshot/objects/acc1", ""]
    values = [0.5, 0.51, 0.52]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert float(row["mean"]) == pytest.approx(0.51) and float(row["sd"]) == pytest.approx(0.01)
    assert float(row["ci_low"]) == pytest.approx(low, abs=1e-4)  # symmetrical on the scale of logits
    assert float(row["ci_high"]) == pytest.approx(high, abs=1e-4)
    assert (row["interval"], row["n_seeds"], row["n"], row["random"]) == ("moderated", "3", "200", "0.25")
    assert row["df"] == "2"  # these seeds move both runs alike
    assert (row["study"], row["strategy"]) == ("tiny", "none")


def test_what_chance_scores_is_the_mean_over_seeds_too(tmp_path):
    """Seeds of link prediction draw their own questions."""

    def rows(value):
        return [MetricRow("link_prediction/tiny/mrr", value, 0.1, 0.9, 50, random=value / 2),
                MetricRow("bias/tiny/ab", value, 0.1, 0.9, 50)]  # fmt: skip

    results = write_study(tmp_path, [0, 1, 2], rows)
    summarize_study(results, list(RUNS), [0, 1, 2])
    summary = summary_of(results)
    assert float(summary["link_prediction/tiny/mrr", ""]["random"]) == pytest.approx(0.255)
    assert summary["bias/tiny/ab", ""]["random"] == ""


def test_one_seed_keeps_the_interval_over_examples(tmp_path):
    results = write_study(tmp_path, [4])
    summarize_study(results, list(RUNS), [4])
    row = summary_of(results)["zeroshot/objects/acc1", ""]
    assert (float(row["ci_low"]), float(row["ci_high"])) == (pytest.approx(0.49), pytest.approx(0.59))
    assert (row["interval"], row["sd"], row["n_seeds"]) == ("bootstrap", "", "1")
    assert summary_of(results)["train/loss", ""]["interval"] == ""


def test_data_rows_are_those_of_the_runs_strategy(tmp_path):
    results = write_study(tmp_path, [0, 1])
    summarize_study(results, list(RUNS), [0, 1])
    assert [summary_of(results, run)["data/rb", ""]["mean"] for run in RUNS] == ["0.3", "0.1"]
    assert [summary_of(results, run)["data/ab_max", ""]["mean"] for run in RUNS] == ["0.4", "0.1"]
    assert summary_of(results)["data/rb", ""]["n"] == "500"


def test_training_rows_are_the_last_loss_and_the_median_speed(tmp_path):
    results = write_study(tmp_path, [0, 1])
    summarize_study(results, list(RUNS), [0, 1])
    summary = summary_of(results)
    assert float(summary["train/loss", ""]["mean"]) == 1.5  # rows are sorted by step: 1 + seed comes last
    assert float(summary["train/samples_per_second", ""]["mean"]) == 90
    assert summary["train/loss", ""]["n"] == "192"


def test_realised_bias_is_a_row_where_it_was_logged(tmp_path):
    results = write_study(tmp_path, [0])
    path = results / "train" / "base" / "seed0" / "history.parquet"
    history = pq.read_table(path).append_column("realised_rb", pa.array([0.3, 0.1, 0.2]))
    write_table(history, path)
    summarize_study(results, list(RUNS), [0])
    assert summary_of(results)["train/realised_rb", ""]["mean"] == "0.1"
    assert ("train/realised_ab", "") not in summary_of(results)


def test_insufficient_groups_stay_without_a_number(tmp_path):
    results = write_study(tmp_path, [0, 1])
    summarize_study(results, list(RUNS), [0, 1])
    row = summary_of(results)["bias/objects/rb", "tolo (insufficient)"]
    assert (row["mean"], row["sd"], row["ci_low"], row["interval"], row["n"]) == ("", "", "", "", "12")


def test_a_value_missing_in_one_seed_gives_no_mean(tmp_path):
    def rows(value):
        return [MetricRow("bias/objects/rb", None if value == 0.5 else value, None, None, 200)]

    results = write_study(tmp_path, [0, 1], rows)
    summarize_study(results, list(RUNS), [0, 1])
    assert summary_of(results)["bias/objects/rb", ""]["mean"] == ""
    assert summary_of(results, "even")["bias/objects/rb", ""]["mean"] != ""


def test_a_metric_that_one_seed_lacks_has_no_mean(tmp_path):
    results = write_study(tmp_path, [0, 1])
    rows = [MetricRow("bias/objects/ab", 0.1, 0.0, 0.2, 200, group="baker")]
    path = results / "evaluate" / "base" / "seed1" / "objects.json"
    write_json(with_digest({"manifest": {}, "metrics": [row.as_dict() for row in rows]}), path)
    summarize_study(results, list(RUNS), [0, 1])
    row = summary_of(results)["zeroshot/objects/acc1", ""]
    assert (row["mean"], row["n_seeds"]) == ("", "1")
    assert not [r for r in read_rows(results / "tests.csv") if r["metric"] == "zeroshot/objects/acc1"]


def test_study_and_metrics_files(tmp_path):
    results = write_study(tmp_path, [0, 1])
    summarize_study(results, list(RUNS), [0, 1])
    study = json.loads((results / "study.json").read_text())
    assert study["study"] == "tiny"
    assert study["runs"] == [
        {
            "run": "base",
            "strategy": "none",
            "seeds": [0, 1],
            "options": {"train.lr": 0.001},
            "mark": None,
            "samples_seen": 192,
            "sets": ["objects"],
            "rows": 8,
        },
        {
            "run": "even",
            "strategy": "m4",
            "seeds": [0, 1],
            "options": {"train.lr": 0.002},
            "mark": None,
            "samples_seen": 192,
            "sets": ["objects"],
            "rows": 8,
        },
    ]
    assert study["files"]["summary.csv"] == sha256_file(results / "summary.csv")
    assert {f"train/even/seed1/{name}" for name in ("manifest.json", "history.parquet")} <= set(study["files"])
    assert study["strategies"]["m4"]["rb_before"] == 0.3 and "pairs" not in study["strategies"]["m4"]
    metrics = json.loads((results / "metrics.json").read_text())
    assert set(metrics["even"]) == {"zeroshot/objects/acc1", "data/rb", "data/ab_max", "train/loss"}
    assert metrics["even"]["zeroshot/objects/acc1"] == pytest.approx(0.405)


def test_seeds_csv_has_every_value_with_its_chance(tmp_path):
    results = write_study(tmp_path, [4, 1])
    summarize_study(results, list(RUNS), [4, 1])
    rows = {(r["run"], r["seed"], r["metric"], r["group"]): r for r in read_rows(results / "seeds.csv")}
    row = rows["even", "4", "zeroshot/objects/acc1", ""]
    assert (row["value"], row["chance"], row["n"]) == ("0.44", "0.25", "200")
    assert rows["base", "1", "bias/objects/ab", "baker"]["value"] == "0.51"
    assert rows["base", "1", "bias/objects/rb", "tolo (insufficient)"]["value"] == ""
    summary = read_rows(results / "summary.csv")
    assert len(rows) == 2 * sum(1 for row in summary if not row["metric"].startswith("data/"))


def test_only_the_named_runs_and_seeds_are_read(tmp_path):
    results = write_study(tmp_path, [0, 1, 2])
    summarize_study(results, ["even"], [0, 2])
    assert {row["run"] for row in read_rows(results / "summary.csv")} == {"even"}
    assert float(summary_of(results, "even")["zeroshot/objects/acc1", ""]["mean"]) == pytest.approx(0.41)
    assert read_rows(results / "tests.csv") == []


def test_summarizing_twice_gives_equal_bytes(tmp_path):
    results = write_study(tmp_path, [0, 1])
    names = ("summary.csv", "seeds.csv", "tests.csv", "claims.json", "study.json", "metrics.json")
    summarize_study(results, list(RUNS), [0, 1])
    first = [(results / name).read_bytes() for name in names]
    summarize_study(results, list(RUNS), [0, 1])
    assert [(results / name).read_bytes() for name in names] == first


def test_few_seeds_report_an_effect_and_no_signed_rank_p(tmp_path):
    results = write_study(tmp_path, [0, 1], lambda value: [MetricRow("zeroshot/objects/acc1", value**2, 0, 1, 200)])
    summarize_study(results, list(RUNS), [0, 1])
    (row,) = read_rows(results / "tests.csv")
    assert (row["metric"], row["run_a"], row["run_b"], row["n"]) == ("zeroshot/objects/acc1", "base", "even", "2")
    assert row["p"] == row["p_holm"] == ""
    expected = stats.ttest_rel([0.4**2, 0.41**2], [0.5**2, 0.51**2])
    assert float(row["effect"]) == pytest.approx(-0.091) and float(row["p_t"]) == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert [float(row["ci_low"]), float(row["ci_high"])] == [pytest.approx(low), pytest.approx(high)]


def remove(path):
    path.unlink()


FAULTS = [
    ("evaluate/even/seed1/objects.json", remove, "evaluate/even/seed1/objects.json: no such file"),
    ("evaluate/even/seed1/objects.json", lambda p: p.write_text("{"), "not readable JSON"),
    ("evaluate/even/seed1/objects.json", lambda p: p.write_text("[]"), "input should be an object"),
    (
        "evaluate/even/seed1/objects.json",
        lambda p: p.write_text('{"metrics": [{"metric": "a/s/m"}]}'),
        "'metrics.0.value': field required",
    ),
    ("evaluate/even/seed1/extra.json", lambda p: p.write_text("{}"), "extra.json: no such file"),
    ("train/base/seed0/manifest.json", remove, "manifest.json: no such file"),
    ("train/base/seed0/manifest.json", lambda p: p.write_text("{}"), "'strategy': field required"),
    (
        "train/base/seed1/manifest.json",
        lambda p: p.write_text('{"strategy": "m4", "options": {}}'),
        "differs from seed 0",
    ),
    ("train/base/seed1/history.parquet", lambda p: p.write_text("no"), "not a readable Parquet file"),
    ("train/base/seed1/history.parquet", lambda p: write_table(pa.table({"step": [1]}), p), "samples_seen, loss"),
    ("balance/m4/report.json", remove, "report.json: no such file"),
]


@pytest.mark.parametrize(("file", "fault", "message"), FAULTS, ids=[message[:40] for *_, message in FAULTS])
def test_faults_are_one_clear_error_and_write_nothing(tmp_path, file, fault, message):
    results = write_study(tmp_path, [0, 1])
    fault(results / file)
    with pytest.raises(InputError, match=message):
        summarize_study(results, list(RUNS), [0, 1])
    assert not list(results.glob("*.*"))


def test_a_metric_that_two_sets_have_is_an_error(tmp_path):
    results = write_study(tmp_path, [0])
    for run in RUNS:
        path = results / "evaluate" / run / "seed0" / "objects.json"
        (path.parent / "other.json").write_text(path.read_text())
    with pytest.raises(InputError, match="other.json: zeroshot/objects/acc1 was already measured"):
        summarize_study(results, list(RUNS), [0])


@pytest.mark.parametrize("recorded", [
    {"model_identity": {"model": "base 0"}}, {"inputs": {"model": {"path": "m", "sha256": "base 0"}}},
])  # fmt: skip
def test_an_evaluation_of_another_run_is_an_error(tmp_path, recorded):
    results = write_study(tmp_path, [0])
    for run in RUNS:
        path = results / "train" / run / "seed0" / "manifest.json"
        outputs = {"model.safetensors": {"bytes": 1, "sha256": f"{run} 0"}}
        write_json(
            with_digest(json.loads(path.read_text()) | {"stage": "train", "inputs": {}, "outputs": outputs}), path
        )
    path = results / "evaluate" / "base" / "seed0" / "objects.json"
    document = json.loads(path.read_text()) | {"manifest": recorded}
    write_json(with_digest(document), path)
    summarize_study(results, [*RUNS], [0])
    other = next(run for run in RUNS if run != "base")
    copied = results / "evaluate" / other / "seed0" / "objects.json"  # into the wrong folder
    write_json(with_digest(document), copied)
    with pytest.raises(InputError, match=f"{other}/seed0/objects.json: it measures another model"):
        summarize_study(results, [*RUNS], [0])


@pytest.mark.parametrize(("runs", "seeds"), [([], [0]), (["base"], []), (["base", "base"], [0]), (["base"], [0, 0])])
def test_runs_and_seeds_are_named_once(tmp_path, runs, seeds):
    with pytest.raises(InputError, match="name each"):
        summarize_study(write_study(tmp_path, [0]), runs, seeds)


def test_an_unknown_run_is_an_error(tmp_path):
    with pytest.raises(InputError, match="train/other/seed0/manifest.json: no such file"):
        summarize_study(write_study(tmp_path, [0]), ["other"], [0])


def test_sets_that_left_the_study_are_not_gathered(tmp_path):
    results = write_study(tmp_path, [0, 1])
    every = sorted(path.stem for path in (results / "evaluate" / next(iter(RUNS)) / "seed0").glob("*.json"))
    summarize_study(results, list(RUNS), [0, 1], every[:1])
    runs = json.loads((results / "study.json").read_text())["runs"]
    assert [run["sets"] for run in runs] == [every[:1]] * len(RUNS)


def test_links_are_read_for_runs_that_have_them(tmp_path):
    results = write_study(tmp_path, [0, 1])
    row = MetricRow("link_prediction/tiny/text_to_text_mrr", 0.5, 0.4, 0.6, 200)
    for seed in (0, 1):
        path = results / "evaluate" / "even" / f"seed{seed}" / "links.json"
        write_json(with_digest({"manifest": {}, "metrics": [row.as_dict()]}), path)
    for sets in (None, ["objects"]):
        summarize_study(results, list(RUNS), [0, 1], sets, linking=["even"])
        runs = {run["run"]: run["sets"] for run in json.loads((results / "study.json").read_text())["runs"]}
        assert runs == {"base": ["objects"], "even": ["objects", "links"]}
        rows = [r["run"] for r in read_rows(results / "summary.csv") if r["metric"] == row.metric]
        assert rows == ["even"]
    with pytest.raises(InputError, match="--linking: no such run 'strange'"):
        summarize_study(results, list(RUNS), [0, 1], linking=["strange"])
    with pytest.raises(InputError, match="base/seed0/links.json: no such file"):
        summarize_study(results, list(RUNS), [0, 1], linking=["base"])
