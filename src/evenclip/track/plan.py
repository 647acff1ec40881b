"""Plan of the MLflow runs of a study, derived from its results folder alone and independent of MLflow.

There is one run per row of the ablation sheet (means and intervals over seeds, bias card, registered model) with one
child per seed (all metrics, loss curve, data), and one run `report` with the page, figures and tables. A planned run's
fingerprint covers everything it logs, so runs with equal fingerprints need no update.
"""

import calendar
import hashlib
import json
import math
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evenclip.digests import fingerprint
from evenclip.errors import InputError
from evenclip.report.claims import described
from evenclip.report.samples import without_samples
from evenclip.results import RunResult, StudyResults
from evenclip.train.options import TrainOptions
from evenclip.unique_names import one_to_one

MAX_CURVE_POINTS = 200
INTERVALS = "intervals.csv"
BALANCE_FILES, CARD_FILES = ("report.json", "manifest.json"), ("card.html", "card.json", "card.md")
TRAINING_PARAMS = ("model", "init", "objective", "lr", "batch_size", "samples_seen", "mask_true")
BALANCE_PARAMS = ("retention", "cap", "preserve", "preserve_tolerance", "eps_rep", "eps_rel", "proxies")
"""Options that are parameters of every run, because people filter by them, beside those that differ between runs."""
CURVES = ("loss", "lr", "logit_scale", "samples_per_second", "realised_rb", "realised_ab")
MetricNames = dict[tuple[str, str], str]  # of (metric, group)


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric; ``step`` counts image-text pairs seen, and is 0 for single measurements."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class DataInput:
    """A data set that a run has read; ``context`` is training or evaluation."""

    name: str
    digest: str
    path: str
    context: str


@dataclass(frozen=True)
class PlannedModel:
    """Version of a registered model, identified by the fingerprint of its card."""

    name: str
    fingerprint: str
    description: str


@dataclass(frozen=True)
class PlannedRun:
    """Planned MLflow run; ``key`` is unique in the study, ``parent`` is the key of the parent run."""

    key: str
    name: str
    parent: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    data: list[DataInput] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    started_ms: int = 0
    ended_ms: int = 0
    model: PlannedModel | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of everything that the run logs."""
        content = asdict(self)
        content["artifacts"] = {path: hashlib.sha256(data).hexdigest() for path, data in self.artifacts.items()}
        return fingerprint(content)


def plan_study(study: StudyResults) -> list[PlannedRun]:
    """All runs of a study, parents before their children."""
    if any(run.name == "report" for run in study.runs):
        raise InputError(
            "a run is called 'report', a name reserved for the study's report in MLflow", study.name, "rename that run"
        )
    names = _metric_names(study)
    planned = []
    for run in study.runs:
        seeds = [_plan_seed(study, run, seed, names) for seed in run.seeds]
        planned += [_plan_parent(study, run, seeds, names), *seeds]
    return [*planned, _plan_report(study, planned)]


def metric_name(metric: str, group: str = "") -> str:
    """Metric name that MLflow accepts: ``bias/people/accuracy`` of group ``a&b`` -> ``bias/people/accuracy/a_b``."""
    name = re.sub(r"[^\w./: -]", "_", f"{metric}/{group}" if group else metric)
    return "/".join("_" if part in ("", ".", "..") else part for part in name.split("/"))


def metric_names(cells: Iterable[tuple[str, str]]) -> MetricNames:
    """Unique MLflow names for each (metric, group)."""
    return one_to_one(dict.fromkeys(cells), lambda key: metric_name(*key))


def _metric_names(study: StudyResults) -> MetricNames:
    """Names for the whole study, so that a metric has the same name in all runs."""
    cells = list(zip(study.summary["metric"], study.summary["group"], strict=True))
    rows = (row for run in study.runs for seed in run.seeds for row in study.metrics(run.name, seed))
    return metric_names([*cells, *((row["metric"], row["group"]) for row in rows)])


def thin(n: int, most: int = MAX_CURVE_POINTS) -> np.ndarray:
    """Indices of at most ``most`` of ``n`` points, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _plan_parent(study: StudyResults, run: RunResult, seeds: list[PlannedRun], names: MetricNames) -> PlannedRun:
    rows = study.summary[study.summary["run"] == run.name]
    metrics = _values(((row.metric, row.group, row.mean) for row in rows.itertuples()), names)
    commits = {seed.tags.get("mlflow.source.git.commit") for seed in seeds}
    tags = _tags(commits.pop() if len(commits) == 1 else None)
    tags["mlflow.note.content"] = (
        f"Strategy `{run.strategy}`: means over {len(run.seeds)} seeds; the artifact "
        f"`{INTERVALS}` has their 95 % intervals. The runs below are the seeds; the run `report` has the figures."
    )
    if run.mark:
        tags["mlflow.note.content"] += f" Warning: {run.mark}."
        tags["evenclip.warning"] = run.mark
    return PlannedRun(
        key=run.name,
        name=run.name,
        params=_params(study, run),
        metrics=metrics,
        tags=tags,
        data=list(dict.fromkeys(entry for seed in seeds for entry in seed.data)),
        artifacts={f"balance/{name}": study.content(f"balance/{run.strategy}/{name}") for name in BALANCE_FILES}
        | {f"card/{name}": study.content(f"card/{run.name}/{name}") for name in CARD_FILES}
        | {INTERVALS: rows[["metric", "group", "mean", "ci_low", "ci_high", "n_seeds"]].to_csv(index=False).encode()},
        started_ms=min((seed.started_ms for seed in seeds), default=0),
        ended_ms=max((seed.ended_ms for seed in seeds), default=0),
        model=_plan_model(study, run),
    )


def _plan_model(study: StudyResults, run: RunResult) -> PlannedModel:
    weights = ", ".join(f"`{study.folder.name}/train/{run.name}/seed{seed}/model.safetensors`" for seed in run.seeds)
    description = f"Bias card: artifact `card/card.html` of the run. Weights, in the results folder: {weights}."
    return PlannedModel(f"{study.name}.{run.name}", study.card(run.name)["fingerprint"], description)


def _plan_seed(study: StudyResults, run: RunResult, seed: int, names: MetricNames) -> PlannedRun:
    training, evaluations = study.training(run.name, seed), study.evaluations(run.name, seed)
    rows = (
        (row["metric"], row["group"], row["value"]) for document in evaluations.values() for row in document["metrics"]
    )
    folder = f"{run.name}/seed{seed}"
    data = [_data_input(training, "data", "training")]
    data += [_data_input(document["manifest"], "dataset", "evaluation") for document in evaluations.values()]
    tags = _tags(training["git"]["commit"])
    tags |= {f"evenclip.training_{name}": str(training[name]) for name in ("fingerprint", "device") if name in training}
    return PlannedRun(
        key=f"{run.name}/seed{seed}",
        name=f"{run.name} · seed {seed}",
        parent=run.name,
        params=_params(study, run) | {"seed": str(seed)},
        metrics=_values(rows, names) + _curves(study, run.name, seed),
        tags=tags,
        data=list(dict.fromkeys(data)),
        artifacts={"train/manifest.json": study.content(f"train/{folder}/manifest.json")}
        | {f"evaluate/{name}.json": study.content(f"evaluate/{folder}/{name}.json") for name in sorted(evaluations)},
        started_ms=_milliseconds(training["started"]),
        ended_ms=_milliseconds(training["ended"]),
    )


def _plan_report(study: StudyResults, planned: list[PlannedRun]) -> PlannedRun:
    """Run with the artifacts of the whole study."""
    artifacts = {
        name: study.content(name) for name in ("summary.csv", "seeds.csv", "tests.csv", "claims.json", "study.json")
    }
    artifacts |= study.figures
    if study.page is not None:
        artifacts["report.html"] = without_samples(study.page).encode()
    note = {"mlflow.note.content": "The study's report, figures and tables: see this run's artifacts."}
    note |= _claim_tags(study.claims)
    ended = max((run.ended_ms for run in planned), default=0)
    return PlannedRun(key="report", name="report", tags=note, artifacts=artifacts, started_ms=ended, ended_ms=ended)


def _claim_tags(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Tags ``claim.<id>``: the verdict on the claim, then each test with its difference, interval, p and n."""
    tags: dict[str, str] = {}
    for entry in entries:
        result = described(entry) if entry["runs"] else entry["reason"]
        text = tags.get(f"claim.{entry['id']}", f"{entry['claim_verdict']}:")
        tags[f"claim.{entry['id']}"] = f"{text} {entry['metric']} {entry['verdict']} ({result});"
    return {name: text.removesuffix(";") for name, text in tags.items()}


def _params(study: StudyResults, run: RunResult) -> dict[str, str]:
    """Strategy, methods and the options that people filter by; then the options that differ between the runs."""
    training = study.training(run.name, run.seeds[0])["options"]
    balancing = study.balance_manifest(run.strategy)["options"]
    params = {f"train.{name}": training[name] for name in TRAINING_PARAMS if name in training}
    params |= {f"method.{name}": bool(training[name]) for name in TrainOptions.method_classes() if name in training}
    params |= {f"balance.{name}": balancing[name] for name in BALANCE_PARAMS if name in balancing}
    return {"strategy": run.strategy} | {name: _text(value) for name, value in (params | run.options).items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _tags(commit: str | None) -> dict[str, str]:
    return {"mlflow.source.name": "evenclip"} | ({"mlflow.source.git.commit": commit} if commit else {})


def _values(rows: Iterable[tuple[str, str, float | None]], names: MetricNames) -> list[MetricPoint]:
    """One point for each metric and group; values that are not finite are left out."""
    return [
        MetricPoint(names[metric, group], float(value))
        for metric, group, value in rows
        if value is not None and math.isfinite(value)
    ]


def _curves(study: StudyResults, run: str, seed: int) -> list[MetricPoint]:
    history = study.history(run, seed)
    points = history.iloc[thin(len(history))]
    return [
        MetricPoint(f"train/{name}", float(value), int(samples_seen))
        for name in CURVES
        if name in points
        for samples_seen, value in zip(points["samples_seen"], points[name], strict=True)
        if value is not None and math.isfinite(value)
    ]


def _data_input(manifest: dict[str, Any], role: str, context: str) -> DataInput:
    """Data folder that a stage has read as ``role``, named by its last two parts, e.g. world/train."""
    entry = manifest["inputs"][role]
    return DataInput("/".join(Path(entry["path"]).parts[-2:]), entry["sha256"][:16], entry["path"], context)


def _milliseconds(iso: str) -> int:
    return calendar.timegm(time.strptime(iso, "%Y-%m-%dT%H:%M:%SZ")) * 1000
