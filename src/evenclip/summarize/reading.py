"""Readers of earlier stages' outputs in `results/<study>/`, for the named runs and seeds only."""

import csv
import itertools
import math
import statistics
from pathlib import Path
from typing import Any

from evenclip import documents
from evenclip.digests import MANIFEST, read_manifest_file, recorded_outputs
from evenclip.errors import InputError
from evenclip.stage_outputs import balanced_labels, read_document, read_history
from evenclip.summarize.knowing_less import per_skill
from evenclip.tables import MetricRow

LINKS = "links"  # the only set that some runs may lack
# one run at one seed: (metric, group) -> row
Measured = dict[tuple[str, str], MetricRow]


def read_sets(results: Path, runs: list[str], seeds: list[int]) -> list[str]:
    """Names of the evaluation sets other than `LINKS`; all runs and seeds must have the same ones."""
    sets = {}
    for run, seed in itertools.product(runs, seeds):
        folder = results / "evaluate" / run / f"seed{seed}"
        sets[folder] = {path.stem for path in folder.glob("*.json")} - {LINKS}
    all_names = set().union(*sets.values())
    for folder, names in sets.items():
        missing = sorted(all_names - names) or ([] if names else ["<set>"])
        if missing:
            raise InputError("no such file", str(folder / f"{missing[0]}.json"), "run `evenclip evaluate` for it")
    return sorted(all_names)


def read_measured(results: Path, run: str, seed: int, sets: list[str]) -> Measured:
    """All metrics of one training: those of the evaluation sets, and final values of its curves as `train/...`."""
    measured: Measured = {}
    trained = recorded_model(results / "train" / run / f"seed{seed}")
    tasks = {}
    for name in sets:
        path = results / "evaluate" / run / f"seed{seed}" / f"{name}.json"
        document = read_document(path, documents.Metrics)
        _check_model(document.get("manifest", {}), trained, path)
        tasks[name] = document.get("manifest", {}).get("options", {}).get("tasks", [])
        for row in (MetricRow(**row) for row in document["metrics"]):
            if (row.metric, row.group) in measured:
                what = f"{row.metric} {row.group}".strip()
                hint = "give each set and each task its own metrics"
                raise InputError(f"{what} was already measured on another set", str(path), hint)
            measured[row.metric, row.group] = row
    measured |= {(row.metric, row.group): row for row in per_skill(tasks, measured)}
    path = results / "train" / run / f"seed{seed}" / "history.parquet"
    history = read_history(path).to_pydict()
    speeds = [speed for speed in history["samples_per_second"] if speed is not None and math.isfinite(speed)]
    curve = {
        "train/loss": history["loss"][-1],
        "train/samples_per_second": statistics.median(speeds) if speeds else None,
    }
    curve |= {f"train/{name}": history[name][-1] for name in ("realised_rb", "realised_ab") if name in history}
    for metric, value in curve.items():
        finite = value if value is not None and math.isfinite(value) else None
        measured[metric, ""] = MetricRow(metric, finite, None, None, int(history["samples_seen"][-1]))
    return measured


def recorded_model(folder: Path) -> str | None:
    """SHA-256 of the weights that a training wrote, as its manifest has it; None in manifests that record no files."""
    recorded = recorded_outputs(read_manifest_file(folder / MANIFEST) or {}).get("model.safetensors")
    return None if recorded is None else recorded.sha256


def _check_model(manifest: dict[str, Any], trained: str | None, path: Path) -> None:
    """Raise `InputError` if an evaluation is of other weights than those of the run and seed in whose folder it is."""
    inputs = manifest.get("inputs", {}).get("model", {})  # of vqa and links
    measured = manifest.get("model_identity", {}).get("model") or inputs.get("sha256")
    if None not in (measured, trained) and measured != trained:
        what = "it measures another model than the one that was trained for this run and seed"
        raise InputError(what, str(path), "evaluate this run again")


def read_null_seeds(path: Path) -> dict[str, float]:
    """Mean over seeds of each metric of the first run in a study's seeds.csv."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        first = rows[0]["run"]
        values: dict[str, list[float]] = {}
        for row in rows:
            if row["run"] == first and not row["group"] and row["value"]:
                values.setdefault(row["metric"], []).append(float(row["value"]))
    except (OSError, ValueError, KeyError, IndexError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else "not a seeds.csv"
        raise InputError(what, str(path), "name the seeds.csv of a study without bias in the data") from None
    return {metric: statistics.mean(of_metric) for metric, of_metric in values.items()}


def read_training(results: Path, run: str, seeds: list[int]) -> dict[str, Any]:
    """Strategy and options of a run; all its seeds must agree."""
    trainings = []
    for seed in seeds:
        path = results / "train" / run / f"seed{seed}" / "manifest.json"
        manifest = read_document(path, documents.TrainedWith)
        trainings.append({"strategy": manifest["strategy"], "options": manifest["options"]})
        if trainings[-1] != trainings[0]:
            raise InputError(f"differs from seed {seeds[0]} in strategy or options", str(path), "train all seeds alike")
    return trainings[0]


def read_report(results: Path, strategy: str) -> dict[str, Any]:
    """Certificate of a strategy."""
    return read_document(results / "balance" / strategy / "report.json", documents.StrategyBias)


def read_balancing(results: Path, strategy: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a strategy and of the labels that it balanced."""
    balance = read_document(results / "balance" / strategy / "manifest.json", documents.BalancedWith)
    labels = results / "label" / f"{balanced_labels(balance, results)}.json"
    return balance["options"], read_document(labels, documents.LabelledWith)["options"]
