"""Summarize a study over seeds, test the differences between its runs, and judge the claims about its methods.

Reads, for the named runs and seeds only, `results/<study>/evaluate/<run>/seed<k>/<set>.json`,
`train/<run>/seed<k>/{manifest.json,history.parquet}`, `balance/<strategy>/{report,manifest}.json`, `label/*.json` and
`config/claims.yaml`; writes `results/<study>/{summary.csv,tests.csv,claims.json,study.json,metrics.json}`.
Command: `evenclip summarize`.
"""

import csv
import json
import statistics
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from evenclip.errors import InputError
from evenclip.provenance import atomic_file, write_json
from evenclip.summarize.claims import read_claims
from evenclip.summarize.comparing import TESTS_COLUMNS, compare_runs, layouts
from evenclip.summarize.inference import Layout
from evenclip.summarize.reading import LINKS, Measured, read_json, read_measured, read_sets, read_training
from evenclip.summarize.roles import RunFacts
from evenclip.summarize.verdicts import judge
from evenclip.tables import MetricRow

SUMMARY_COLUMNS = (
    "study", "run", "strategy", "metric", "group", "mean", "sd", "ci_low", "ci_high", "interval", "df",
    "n_seeds", "n", "random", "people",
)  # fmt: skip


def summarize_study(
    results: Path, runs: list[str], seeds: list[int], sets: list[str] | None = None, claims: Path | None = None,
    linking: Collection[str] = (),
) -> None:  # fmt: skip
    """Write summary.csv, tests.csv, claims.json, study.json and metrics.json of one study.

    summary.csv: mean, standard deviation and 95 % interval of each metric of each run. Column ``interval``: `moderated`
    = Student's t over the seeds, the run's variance moderated by those of the others (`Layout.mean`, degrees of freedom
    in ``df``); `t` = the same where one run has the metric; `bootstrap` = over examples, where there is one seed only;
    empty = none. ``mean`` is empty where a group is too small ("insufficient") in any seed. The rows data/rb and
    data/ab_max of a run are those of its strategy, under its weights. train/loss, and train/realised_rb and
    train/realised_ab (the bias of the pairs shown, where it was logged) are the last logged values,
    train/samples_per_second is the median.

    tests.csv: `compare_runs` for every pair of runs, in the order of ``runs``. claims.json: `judge`.

    study.json: the runs with strategy, seeds, samples seen, evaluation sets and those training options that differ
    between runs; the certificate of each strategy. metrics.json: {run: {metric: mean}} for `dvc metrics`; no
    timings, which differ between equal results.

    Parameters
    ----------
    results : Path
        Folder of the study; its name is the study's.
    runs : list of str
        The first one is the baseline.
    seeds : list of int
    sets : list of str, optional
        Evaluation sets; None = all that are there, which may include sets that the study no longer names.
    claims : Path, optional
        File of claims; None = claims.json is an empty list.
    linking : collection of str
        Runs with link prediction (the set `links`), which needs a multi-modal encoder and so is not of all runs.

    Raises
    ------
    InputError
        A file of these runs and seeds is missing or malformed, or seeds of a run differ in strategy, options or sets;
        or a claim is malformed.
    """
    results = Path(results)
    for what, names in (("run", runs), ("seed", seeds)):
        if not names or len(set(names)) < len(names):
            raise InputError(f"no {what}, or one {what} twice", f"--{what}", f"name each {what} once")
    if strange := set(linking) - set(runs):
        raise InputError(f"no such run '{min(strange)}'", "--linking", f"one of {', '.join(runs)}")
    stated = read_claims(claims) if claims else []
    trained = {run: read_training(results, run, seeds) for run in runs}
    shared = sorted(sets) if sets else read_sets(results, runs, seeds)
    sets_of = {run: [*shared, *([LINKS] if run in linking else [])] for run in runs}
    measured = {run: [read_measured(results, run, seed, sets_of[run]) for seed in seeds] for run in runs}
    reports = {t["strategy"]: read_json(results / "balance" / t["strategy"] / "report.json") for t in trained.values()}
    study = results.resolve().name
    by_cell = _layouts_by_cell(measured)
    summary = [
        {"study": study, "run": run, "strategy": trained[run]["strategy"]} | row
        for run in runs
        for row in [*_data_rows(reports[trained[run]["strategy"]]), *_over_seeds(run, measured[run], by_cell)]
    ]
    compared = layouts({run: [_overall(one) for one in measured[run]] for run in runs})
    people = {
        metric for seeds_of_run in measured.values() for (metric, _), row in seeds_of_run[0].items() if row.people
    }
    judged = judge(stated, _facts(results, trained), compared, people) if stated else []
    differing = _differing({run: trained[run]["options"] for run in runs})
    described = [
        {
            "run": run,
            "strategy": trained[run]["strategy"],
            "seeds": seeds,
            "options": differing[run],
            "samples_seen": measured[run][0]["train/loss", ""].n,
            "sets": sets_of[run],
        }
        for run in runs
    ]
    certificates = {
        name: {key: value for key, value in report.items() if not isinstance(value, dict | list)}
        for name, report in reports.items()
    }
    means = {
        run: {row["metric"]: row["mean"] for row in summary if row["run"] == run and _is_stable_number(row)}
        for run in runs
    }
    _write_csv(results / "summary.csv", SUMMARY_COLUMNS, summary)
    _write_csv(results / "tests.csv", TESTS_COLUMNS, compare_runs(compared))
    write_json(judged, results / "claims.json")
    write_json({"study": study, "runs": described, "strategies": certificates}, results / "study.json")
    write_json(means, results / "metrics.json")


def _facts(results: Path, trained: dict[str, dict[str, Any]]) -> list[RunFacts]:
    """What each run was made with, for the claims: options of its training, its strategy and the labels balanced."""
    facts = []
    for run, found in trained.items():
        path = results / "balance" / found["strategy"] / "manifest.json"
        balance = read_json(path)
        try:
            labels = results / "label" / Path(balance["inputs"]["labels"]["path"]).with_suffix(".json").name
            options = {"balance": balance["options"], "label": read_json(labels)["options"]}
        except KeyError as error:
            raise InputError(f"the manifest lacks {error}", str(path), "run `evenclip balance` again") from None
        facts.append(RunFacts.of(run, train=found["options"], **options))
    return facts


def _layouts_by_cell(measured: dict[str, list[Measured]]) -> dict[tuple[str, str], Layout]:
    """(metric, group) -> values by run and seed, over the runs that have it in every seed."""
    values = {
        run: [{cell: row.value for cell, row in one.items() if row.value is not None} for one in seeds]
        for run, seeds in measured.items()
    }
    return layouts(values)


def _overall(measured: Measured) -> dict[str, float]:
    """What is compared between runs: metrics over all examples of evaluation sets, not training curves or groups."""
    return {
        metric: row.value
        for (metric, group), row in measured.items()
        if not group and row.value is not None and not metric.startswith("train/")
    }


def _is_stable_number(row: dict[str, Any]) -> bool:
    """Over all examples, and the same whenever the same study is run again."""
    return not row["group"] and row.get("mean") is not None and row["metric"] != "train/samples_per_second"


def _over_seeds(run: str, measured: list[Measured], by_cell: dict[tuple[str, str], Layout]) -> Iterable[dict[str, Any]]:
    for metric, group in dict.fromkeys(cell for one in measured for cell in one):
        rows = [one[metric, group] for one in measured if (metric, group) in one]
        layout = by_cell.get((metric, group))
        yield {
            "metric": metric,
            "group": group,
            **(_mean(run, layout, rows[0]) if layout and run in layout.runs else {}),
            "n_seeds": len(rows),
            "n": min(row.n for row in rows),
            "random": _mean_chance(rows),
            "people": rows[0].people,
        }


def _mean_chance(rows: list[MetricRow]) -> float | None:
    """Over seeds: some draw what they ask, and so have a chance of their own."""
    chance = [row.random for row in rows if row.random is not None]
    return statistics.mean(chance) if chance else None


def _mean(run: str, layout: Layout, first: MetricRow) -> dict[str, Any]:
    """Mean, sd and interval of one metric; ``first`` is the row of the first seed."""
    mean = layout.mean(run)
    if layout.n_seeds == 1:
        found = {"mean": mean.estimate}
        return found if first.ci_low is None else found | {
            "ci_low": first.ci_low, "ci_high": first.ci_high, "interval": "bootstrap"
        }  # fmt: skip
    found = {"mean": mean.estimate, "sd": statistics.stdev(layout.values[layout.runs.index(run)].tolist())}
    if not mean.testable:
        return found
    low, high = mean.interval()
    return found | {
        "ci_low": low, "ci_high": high, "interval": "moderated" if layout.n_runs > 1 else "t", "df": mean.df
    }  # fmt: skip


def _data_rows(report: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for metric, field in (("data/rb", "rb_after"), ("data/ab_max", "ab_after")):
        yield {
            "metric": metric,
            "group": "",
            "mean": report.get(field),
            "n_seeds": 1,
            "n": report.get("n"),
            "people": True,
        }


def _differing(options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each run, the training options in which not all runs agree, as `train.<option>`."""
    keys = sorted(set().union(*options.values()))
    differ = [
        key for key in keys if len({json.dumps(of_run.get(key), sort_keys=True) for of_run in options.values()}) > 1
    ]
    return {run: {f"train.{key}": of_run.get(key) for key in differ} for run, of_run in options.items()}


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.8g}" if isinstance(value, float) else value for key, value in row.items()})
