"""The summarize stage: read all runs and seeds of a study, compare them and write the tables.

Reads, for the named runs and seeds only, `results/<study>/evaluate/<run>/seed<k>/<set>.json`,
`train/<run>/seed<k>/{manifest.json,history.parquet}`, `balance/<strategy>/{report,manifest}.json`, `label/*.json` and
`config/claims.yaml`; writes `results/<study>/{summary.csv,seeds.csv,tests.csv,claims.json,metrics.json,study.json}`.
"""

import csv
import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evenclip.digests import sha256_file
from evenclip.errors import InputError
from evenclip.metrics import known_metrics
from evenclip.provenance import atomic_file, only_writer, write_json
from evenclip.stage_outputs import study_fingerprint
from evenclip.summarize.claims import read_claims
from evenclip.summarize.comparing import TESTS_COLUMNS, compare_runs, runs_by_seeds
from evenclip.summarize.evidence import Scale
from evenclip.summarize.inference import RunsBySeeds
from evenclip.summarize.knowing_less import mark
from evenclip.summarize.options import OWN_VARIANCE
from evenclip.summarize.reading import (
    LINKS,
    Measured,
    read_balancing,
    read_measured,
    read_null_seeds,
    read_report,
    read_sets,
    read_training,
)
from evenclip.summarize.roles import RunFacts
from evenclip.summarize.verdicts import PLANNED_LOOKS, judge
from evenclip.tables import MetricRow

SUMMARY_COLUMNS = (
    "study", "run", "strategy", "metric", "group", "mean", "sd", "ci_low", "ci_high", "interval", "df",
    "n_seeds", "n", "random", "floor", "people",
)  # fmt: skip
SEEDS_COLUMNS = ("run", "seed", "metric", "group", "value", "chance", "n")


def summarize_study(
    results: Path, runs: list[str], seeds: list[int], sets: list[str] | None = None, claims: Path | None = None,
    linking: Collection[str] = (), looks: Sequence[int] = PLANNED_LOOKS, null_seeds: Path | None = None,
    primary: Mapping[str, str] = {},
) -> None:  # fmt: skip
    """Write summary.csv, seeds.csv, tests.csv, claims.json, study.json and metrics.json of one study.

    summary.csv has mean, standard deviation and 95 % interval of each metric of each run, what a model that guesses
    scores (``random``), and what models of unbiased data show (``floor``: the mean of the null study, where one is
    given). Column ``interval``: `t` =
    Student's t over seeds (degrees of freedom in ``df``); `moderated` = the same where the seeds are few and the run's
    variance is moderated by those of the other runs (`RunsBySeeds.mean`); `bootstrap` = over examples, for a single
    seed; empty = no interval. Intervals of metrics with a range stay in it (`Contrast.interval_within`). ``mean`` is
    empty if a group is too small ("insufficient") in any seed. The rows data/rb, data/ab_max and data/kept_min of a run
    are the bias of the data under its strategy's
    weights, and what the least kept label keeps of its share.
    train/loss, and train/realised_rb and train/realised_ab (the bias of the pairs shown, if logged) are the last logged
    values; train/samples_per_second is the median.

    seeds.csv has the value of every metric of every run and seed, with its chance level and number of examples, so that
    anybody can analyse the study anew. tests.csv has the rows of `compare_runs`, claims.json those of `judge`.

    study.json has the runs with strategy, seeds, samples seen, evaluation sets, number of rows in summary.csv and the
    training options that differ between runs; the certificate of each strategy; and the SHA-256 of every file that was
    read or written, so that the report, the cards and the tracker detect later changes. metrics.json has
    {run: {metric: mean}} for `dvc metrics`, without timings, which differ between equal results.

    Parameters
    ----------
    results : Path
        Folder of the study, named after it.
    runs : list of str
        The first is the baseline.
    seeds : list of int
    sets : list of str, optional
        Evaluation sets; None = all in the folder, which may include sets that the study no longer names.
    claims : Path, optional
        File of claims; without one claims.json is an empty list.
    linking : collection of str
        Runs with link prediction (the set `links`), which needs a multi-modal encoder.
    looks : sequence of int
        Numbers of seeds after which claims are judged.
    null_seeds : Path, optional
        seeds.csv of a null study, for the floors of bias metrics.
    primary : mapping of str to str
        Metric that decides each primary claim, by its id.

    Raises
    ------
    InputError
        A file of these runs and seeds is missing or malformed, seeds of a run differ in strategy, options or sets, or a
        claim is malformed.
    """
    results = Path(results)
    for what, names in (("run", runs), ("seed", seeds)):
        if not names or len(set(names)) < len(names):
            raise InputError(f"no {what}, or one {what} twice", f"--{what}", f"name each {what} once")
    if strange := set(linking) - set(runs):
        raise InputError(f"no such run '{min(strange)}'", "--linking", f"one of {', '.join(runs)}")
    claim_list = read_claims(claims) if claims else []
    trained = {run: read_training(results, run, seeds) for run in runs}
    shared = sorted(sets) if sets else read_sets(results, runs, seeds)
    sets_of = {run: [*shared, *([LINKS] if run in linking else [])] for run in runs}
    measured = {run: [read_measured(results, run, seed, sets_of[run]) for seed in seeds] for run in runs}
    reports = {training["strategy"]: read_report(results, training["strategy"]) for training in trained.values()}
    floors = read_null_seeds(null_seeds) if null_seeds else {}
    summary = _summary(results.resolve().name, measured, trained, reports, floors)
    compared = runs_by_seeds({run: [_overall(of_seed) for of_seed in measured[run]] for run in runs})
    people = {metric for of_run in measured.values() for (metric, _), row in of_run[0].items() if row.people}
    scales = _scales(measured[runs[0]], floors)
    judged = judge(claim_list, _facts(results, trained), compared, people, scales, looks, primary) if claim_list else []
    with only_writer(results / "study.json"):
        _write_csv(results / "summary.csv", SUMMARY_COLUMNS, summary)
        _write_csv(results / "seeds.csv", SEEDS_COLUMNS, _seed_rows(measured, seeds))
        _write_csv(results / "tests.csv", TESTS_COLUMNS, compare_runs(compared))
        write_json(judged, results / "claims.json")
        write_json(_means(runs, summary), results / "metrics.json")
        differing = _differing({run: trained[run]["options"] for run in runs})
        run_entries = [
            {
                "run": run,
                "strategy": trained[run]["strategy"],
                "seeds": seeds,
                "options": differing[run],
                "mark": mark(run, runs[0], compared, people),
                "samples_seen": measured[run][0]["train/loss", ""].n,
                "sets": sets_of[run],
                "rows": sum(row["run"] == run for row in summary),
            }
            for run in runs
        ]
        certificates = {
            name: {key: value for key, value in report.items() if not isinstance(value, dict | list)}
            for name, report in reports.items()
        }
        study = {"study": results.resolve().name, "runs": run_entries, "strategies": certificates}
        study |= {"files": _digests(results, run_entries, list(reports))}
        # last, since study.json marks a complete summary
        write_json(study | {"fingerprint": study_fingerprint(study)}, results / "study.json")


def _summary(
    study: str,
    measured: dict[str, list[Measured]],
    trained: dict[str, dict[str, Any]],
    reports: dict[str, Any],
    floors: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Rows of summary.csv."""
    by_cell = _by_cell(measured)
    return [
        {"study": study, "run": run, "strategy": trained[run]["strategy"]} | row
        for run in measured
        for row in [*_data_rows(reports[trained[run]["strategy"]]), *_over_seeds(run, measured[run], by_cell, floors)]
    ]


def _means(runs: list[str], summary: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Content of metrics.json: means over all examples that are reproducible from run to run."""
    return {
        run: {
            row["metric"]: row["mean"]
            for row in summary
            if row["run"] == run
            and not row["group"]
            and row.get("mean") is not None
            and row["metric"] != "train/samples_per_second"
        }
        for run in runs
    }


def _digests(results: Path, runs: list[dict[str, Any]], strategies: list[str]) -> dict[str, str]:
    """SHA-256 of every file that the summary reads or writes, by its path in the results folder."""
    names = ["summary.csv", "seeds.csv", "tests.csv", "claims.json", "metrics.json"]
    for run in runs:
        for seed in run["seeds"]:
            folder = f"{run['run']}/seed{seed}"
            names += [f"train/{folder}/{name}" for name in ("manifest.json", "history.parquet")]
            names += [f"evaluate/{folder}/{name}.json" for name in run["sets"]]
    names += [f"balance/{name}/{file}.json" for name in strategies for file in ("report", "manifest")]
    names += [path.relative_to(results).as_posix() for path in sorted((results / "label").glob("*.json"))]
    return {name: sha256_file(results / name) for name in names if (results / name).is_file()}


def _facts(results: Path, trained: dict[str, dict[str, Any]]) -> list[RunFacts]:
    """Options of each run's training, strategy and labels, for the claims."""
    facts = []
    for run, training in trained.items():
        balance, labels = read_balancing(results, training["strategy"])
        facts.append(RunFacts.of(run, train=training["options"], balance=balance, label=labels))
    return facts


def _by_cell(measured: dict[str, list[Measured]]) -> dict[tuple[str, str], RunsBySeeds]:
    """Values by (metric, group), run and seed, for the runs that have them in every seed."""
    values = {
        run: [{cell: row.value for cell, row in of_seed.items() if row.value is not None} for of_seed in seeds]
        for run, seeds in measured.items()
    }
    return runs_by_seeds(values)


def _overall(measured: Measured) -> dict[str, float]:
    """Metrics to compare between runs: those over all examples of a set, without training curves and groups."""
    return {
        metric: row.value
        for (metric, group), row in measured.items()
        if not group and row.value is not None and not metric.startswith("train/")
    }


def _over_seeds(
    run: str,
    measured: list[Measured],
    by_cell: dict[tuple[str, str], RunsBySeeds],
    floors: Mapping[str, float],
) -> Iterable[dict[str, Any]]:
    for metric, group in dict.fromkeys(cell for of_seed in measured for cell in of_seed):
        rows = [of_seed[metric, group] for of_seed in measured if (metric, group) in of_seed]
        table = by_cell.get((metric, group))
        yield {
            "metric": metric,
            "group": group,
            **(_mean(run, table, rows[0], metric) if table and run in table.runs else {}),
            "n_seeds": len(rows),
            "n": min(row.n for row in rows),
            "random": _mean_chance(rows),
            "floor": floors.get(metric) if metric.startswith("bias/") and not group else None,
            "people": rows[0].people,
        }


def _seed_rows(measured: dict[str, list[Measured]], seeds: list[int]) -> list[dict[str, Any]]:
    """Rows of seeds.csv."""
    return [
        {
            "run": run,
            "seed": seed,
            "metric": metric,
            "group": group,
            "value": row.value,
            "chance": row.random,
            "n": row.n,
        }
        for run, of_run in measured.items()
        for seed, of_seed in zip(seeds, of_run, strict=True)
        for (metric, group), row in of_seed.items()
    ]


def _scales(baseline: list[Measured], null: dict[str, float]) -> dict[str, Scale]:
    """Floor and ceiling of each metric over all examples."""
    scales = {}
    for metric, group in dict.fromkeys(cell for of_seed in baseline for cell in of_seed):
        if group:
            continue
        chance = _mean_chance([of_seed[metric, ""] for of_seed in baseline if (metric, "") in of_seed])
        definition = known_metrics().of(metric)
        ceiling = math.nan if definition is None or definition.high is None else definition.high
        if metric.startswith("bias/") and metric in null:
            scales[metric] = Scale(null[metric], "the null study's", ceiling)
        else:
            scales[metric] = Scale(math.nan if chance is None else chance, "chance", ceiling)
    return scales


def _mean_chance(rows: list[MetricRow]) -> float | None:
    """Chance level averaged over seeds, since some metrics draw different questions for each seed."""
    chance = [row.random for row in rows if row.random is not None]
    return statistics.mean(chance) if chance else None


def _mean(run: str, table: RunsBySeeds, first: MetricRow, metric: str) -> dict[str, Any]:
    """Mean, sd and interval of one ``metric``; ``first`` is the row of the first seed."""
    mean = table.mean(run)
    if table.n_seeds == 1:
        ends = {"ci_low": first.ci_low, "ci_high": first.ci_high, "interval": "bootstrap"}
        return {"mean": mean.estimate} | ({} if first.ci_low is None else ends)
    columns = {"mean": mean.estimate, "sd": statistics.stdev(table.values[table.runs.index(run)].tolist())}
    if not mean.testable:
        return columns
    definition = known_metrics().of(metric)
    bounded = definition is not None and definition.low is not None
    low, high = mean.interval_within(definition.low, definition.high) if bounded else mean.interval()
    interval = "moderated" if table.n_runs > 1 and table.n_seeds < OWN_VARIANCE else "t"
    return columns | {"ci_low": low, "ci_high": high, "interval": interval, "df": mean.df}


_DATA_METRICS = {"data/rb": "rb_after", "data/ab_max": "ab_after", "data/kept_min": "kept_min"}


def _data_rows(report: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for metric, field in _DATA_METRICS.items():
        yield {
            "metric": metric,
            "group": "",
            "mean": report.get(field),
            "n_seeds": 1,
            "n": report.get("n"),
            "people": True,
        }


def _differing(options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Training options that differ between runs, by run, as `train.<option>`."""
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
