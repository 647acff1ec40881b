"""Summarize a study over seeds, and test the differences between its runs.

Reads, for the named runs and seeds only, `results/<study>/evaluate/<run>/seed<k>/<set>.json`,
`train/<run>/seed<k>/{manifest.json,history.parquet}` and `balance/<strategy>/report.json`; writes
`results/<study>/{summary.csv,tests.csv,study.json,metrics.json}`. Command: `evenclip summarize`.
"""

import csv
import itertools
import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from evenclip.errors import InputError
from evenclip.provenance import atomic_file, write_json
from evenclip.records import MetricRow, read_table

SUMMARY_COLUMNS = (
    "study", "run", "strategy", "metric", "group", "mean", "sd", "ci_low", "ci_high", "interval",
    "n_seeds", "n", "random",
)  # fmt: skip
TESTS_COLUMNS = ("metric", "run_a", "run_b", "statistic", "p", "p_holm", "effect", "ci_low", "ci_high", "n")
LEVEL = 0.05

# one run at one seed: (metric, group) -> row
Measured = dict[tuple[str, str], MetricRow]


def summarize_study(results: Path, runs: list[str], seeds: list[int], sets: list[str] | None = None) -> None:
    """Write summary.csv, tests.csv, study.json and metrics.json of one study.

    summary.csv: mean, standard deviation and 95 % interval of each metric of each run. Column ``interval``: `t` =
    Student's t over the seeds; `bootstrap` = over examples, where there is one seed only; empty = none. ``mean`` is
    empty where a group is too small ("insufficient") in any seed. The rows data/rb and data/ab_max of a run are those
    of its strategy, under its weights. train/loss, and train/realised_rb and train/realised_ab (the bias of the pairs
    shown, where it was logged) are the last logged values, train/samples_per_second is the median.

    tests.csv: `compare_runs` for every pair of runs, in the order of ``runs``.

    study.json: the runs with strategy, seeds, samples seen and those training options that differ between runs; the
    evaluation sets; the certificate of each strategy. metrics.json: {run: {metric: mean}} for `dvc metrics`.

    Parameters
    ----------
    results : Path
        Folder of the study; its name is the study's.
    runs : list of str
    seeds : list of int
    sets : list of str, optional
        Evaluation sets; None = all that are there, which may include sets that the study no longer names.

    Raises
    ------
    InputError
        A file of these runs and seeds is missing or malformed, or seeds of a run differ in strategy, options or sets.
    """
    results = Path(results)
    for what, names in (("run", runs), ("seed", seeds)):
        if not names or len(set(names)) < len(names):
            raise InputError(f"no {what}, or one {what} twice", f"--{what}", f"name each {what} once")
    trained = {run: _trained(results, run, seeds) for run in runs}
    sets = sorted(sets) if sets else _sets(results, runs, seeds)
    measured = {run: [_measured(results, run, seed, sets) for seed in seeds] for run in runs}
    reports = {t["strategy"]: _read_json(results / "balance" / t["strategy"] / "report.json") for t in trained.values()}
    study = results.resolve().name
    summary = [
        {"study": study, "run": run, "strategy": trained[run]["strategy"]} | row
        for run in runs
        for row in [*_data_rows(reports[trained[run]["strategy"]]), *_over_seeds(measured[run])]
    ]
    tests = compare_runs({run: [_overall(one) for one in measured[run]] for run in runs})
    differing = _differing({run: trained[run]["options"] for run in runs})
    described = [
        {
            "run": run,
            "strategy": trained[run]["strategy"],
            "seeds": seeds,
            "options": differing[run],
            "samples_seen": measured[run][0]["train/loss", ""].n,
        }
        for run in runs
    ]
    certificates = {
        name: {key: value for key, value in report.items() if not isinstance(value, dict | list)}
        for name, report in reports.items()
    }
    means = {
        run: {row["metric"]: row["mean"] for row in summary if row["run"] == run and _is_overall_number(row)}
        for run in runs
    }
    _write_csv(results / "summary.csv", SUMMARY_COLUMNS, summary)
    _write_csv(results / "tests.csv", TESTS_COLUMNS, tests)
    write_json({"study": study, "runs": described, "sets": sets, "strategies": certificates}, results / "study.json")
    write_json(means, results / "metrics.json")


def t_interval(values: list[float]) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the mean by Student's t; (None, None) for fewer than two values."""
    n = len(values)
    if n < 2:
        return None, None
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def holm(p: list[float]) -> list[float]:
    """Holm's step-down adjustment of p values (Holm 1979), in their order."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(p), 0, -1) * np.asarray(p)[order]))
    return adjusted.tolist()


def compare_runs(values: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Paired comparison of every pair of runs in every metric that both have.

    effect = mean over seeds of run_b - run_a, with a t interval; statistic and p: Wilcoxon's signed-rank test,
    two-sided, exact (with ties: up to 13 seeds). p is None where even the clearest outcome, 2 * 2**-n, is above 0.05
    (fewer than 6 seeds): then only effect and interval can speak. p_holm: adjusted over the pairs of runs within one
    metric, not over metrics.

    Parameters
    ----------
    values : dict
        run -> one {metric: value} per seed, seeds in the same order in all runs.
    """
    rows = []
    metrics = dict.fromkeys(metric for seeds in values.values() for metric in seeds[0])
    for metric in metrics:
        family = [
            _compare(
                metric, run_a, run_b, [one[metric] for one in values[run_a]], [one[metric] for one in values[run_b]]
            )
            for run_a, run_b in itertools.combinations(values, 2)
            if all(metric in one for one in [*values[run_a], *values[run_b]])
        ]
        tested = [row for row in family if row["p"] is not None]
        for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = adjusted
        rows += family
    return rows


def _compare(metric: str, run_a: str, run_b: str, a: list[float], b: list[float]) -> dict[str, Any]:
    # rounded, since differences that are equal on paper must be ties of ranks; + 0.0 turns -0.0 into 0.0
    difference = [round(y - x, 12) + 0.0 for x, y in zip(a, b, strict=True)]
    n = len(difference)
    low, high = t_interval(difference)
    # scipy has no answer where all differences are 0
    statistic, p = (0.0, 1.0) if not any(difference) else map(float, stats.wilcoxon(difference))
    return {
        "metric": metric, "run_a": run_a, "run_b": run_b, "statistic": statistic,
        "p": p if 2 * 2.0**-n <= LEVEL else None, "p_holm": None,
        "effect": statistics.fmean(difference), "ci_low": low, "ci_high": high, "n": n,
    }  # fmt: skip


def _overall(measured: Measured) -> dict[str, float]:
    """What is compared between runs: metrics over all examples of evaluation sets, not training curves or groups."""
    return {
        metric: row.value
        for (metric, group), row in measured.items()
        if not group and row.value is not None and not metric.startswith("train/")
    }


def _is_overall_number(row: dict[str, Any]) -> bool:
    return not row["group"] and row.get("mean") is not None


def _over_seeds(measured: list[Measured]) -> Iterable[dict[str, Any]]:
    for metric, group in dict.fromkeys(cell for one in measured for cell in one):
        rows = [one[metric, group] for one in measured if (metric, group) in one]
        complete = len(rows) == len(measured) and all(row.value is not None for row in rows)
        yield {
            "metric": metric,
            "group": group,
            **(_mean([row.value for row in rows], rows[0]) if complete else {}),
            "n_seeds": len(rows),
            "n": min(row.n for row in rows),
            "random": rows[0].random,
        }


def _mean(values: list[float], first: MetricRow) -> dict[str, Any]:
    """Mean, sd and interval of one metric's values, one per seed; ``first`` is the row of the first seed."""
    mean = {"mean": statistics.fmean(values)}
    if len(values) > 1:
        low, high = t_interval(values)
        return mean | {"sd": statistics.stdev(values), "ci_low": low, "ci_high": high, "interval": "t"}
    if first.ci_low is None:
        return mean
    return mean | {"ci_low": first.ci_low, "ci_high": first.ci_high, "interval": "bootstrap"}


def _data_rows(report: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for metric, field in (("data/rb", "rb_after"), ("data/ab_max", "ab_after")):
        yield {"metric": metric, "group": "", "mean": report.get(field), "n_seeds": 1, "n": report.get("n")}


def _sets(results: Path, runs: list[str], seeds: list[int]) -> list[str]:
    """Names of the evaluation sets, which all runs and seeds must share: a mean over other sets compares nothing."""
    found = {}
    for run, seed in itertools.product(runs, seeds):
        folder = results / "evaluate" / run / f"seed{seed}"
        found[folder] = {path.stem for path in folder.glob("*.json")}
    every = set().union(*found.values())
    for folder, names in found.items():
        missing = sorted(every - names) or ([] if names else ["<set>"])
        if missing:
            raise InputError("no such file", str(folder / f"{missing[0]}.json"), "run `evenclip evaluate` for it")
    return sorted(every)


def _measured(results: Path, run: str, seed: int, sets: list[str]) -> Measured:
    found: Measured = {}
    for name in sets:
        path = results / "evaluate" / run / f"seed{seed}" / f"{name}.json"
        try:
            rows = [MetricRow(**row) for row in _read_json(path)["metrics"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"not a file of metrics ({error})", str(path), "run `evenclip evaluate` again") from None
        found |= {(row.metric, row.group): row for row in rows}
    path = results / "train" / run / f"seed{seed}" / "history.parquet"
    history = read_table(path, ["step", "samples_seen", "loss", "samples_per_second"]).sort_by("step").to_pydict()
    if not history["step"]:
        raise InputError("the history has no rows", str(path), "run `evenclip train` again")
    speeds = [speed for speed in history["samples_per_second"] if speed is not None and math.isfinite(speed)]
    curve = {
        "train/loss": history["loss"][-1],
        "train/samples_per_second": statistics.median(speeds) if speeds else None,
    }
    last = read_table(path).sort_by("step").to_pylist()[-1]
    curve |= {f"train/{name}": last[name] for name in ("realised_rb", "realised_ab") if name in last}
    for metric, value in curve.items():
        finite = value if value is not None and math.isfinite(value) else None
        found[metric, ""] = MetricRow(metric, finite, None, None, int(history["samples_seen"][-1]))
    return found


def _trained(results: Path, run: str, seeds: list[int]) -> dict[str, Any]:
    """Strategy and options of a run, equal in all its seeds."""
    found = []
    for seed in seeds:
        path = results / "train" / run / f"seed{seed}" / "manifest.json"
        manifest = _read_json(path)
        if not isinstance(manifest.get("strategy"), str) or not isinstance(manifest.get("options"), dict):
            raise InputError("the manifest lacks strategy or options", str(path), "run `evenclip train` again")
        found.append({"strategy": manifest["strategy"], "options": manifest["options"]})
        if found[-1] != found[0]:
            raise InputError(f"differs from seed {seeds[0]} in strategy or options", str(path), "train all seeds alike")
    return found[0]


def _differing(options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each run, the training options in which not all runs agree, as `train.<option>`."""
    keys = sorted(set().union(*options.values()))
    differ = [
        key for key in keys if len({json.dumps(of_run.get(key), sort_keys=True) for of_run in options.values()}) > 1
    ]
    return {run: {f"train.{key}": of_run.get(key) for key in differ} for run, of_run in options.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", str(path), "run the stage that writes it") from None
    except ValueError as error:
        raise InputError(f"not readable JSON ({error})", str(path), "run the stage that writes it again") from None
    if not isinstance(document, dict):
        raise InputError("not a JSON object", str(path), "run the stage that writes it again")
    return document


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.8g}" if isinstance(value, float) else value for key, value in row.items()})
