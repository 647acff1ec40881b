"""The last lines that a finished study prints: its headline result, and where to look next."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

from evenclip.study.schema import StudyConfig

HEADLINES = ("bias/{set}/ab_max", "bias/{set}/rb", "data/ab_max", "data/rb")
"""Metrics, of which the first that was measured is the headline where the study has no primary claim."""


def closing_lines(config: StudyConfig, runs: Sequence[str], study_files: Sequence[str]) -> list[str]:
    """Headline result, report, bias card, MLflow and what to do next, one line each.

    Parameters
    ----------
    config : StudyConfig
        A study whose report is written.
    runs : sequence of str
        Names of its runs; the first is the baseline.
    study_files : sequence of str
        The study file, as it was named on the command line; empty for the demo.
    """
    results = config.results
    study = f" --configfile {os.path.relpath(study_files[0])}" if study_files else ""
    return [
        f"result  {_headline(config, runs)}",
        f"report  {results}/report.html",
        f"card    {results}/card/{runs[-1]}/card.html",
        f"MLflow  mlflow ui --backend-store-uri {config.track.tracking_uri}    (or: make mlflow)",
        f"next    change {config.ablations} (one row is one run), then: snakemake --cores all{study}",
    ]


def _headline(config: StudyConfig, runs: Sequence[str]) -> str:
    """Two runs compared, with intervals: those of the first primary claim and its verdict, or baseline and last run."""
    with Path(config.results, "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["group"] and row["mean"]]
    by_metric: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], {})[row["run"]] = row
    claims = json.loads(Path(config.results, "claims.json").read_text(encoding="utf-8"))
    for entry in claims:
        pair = [] if entry["runs"] is None else [entry["runs"]["reference"], entry["runs"]["run"]]
        measured = by_metric.get(entry["metric"], {})
        if entry["primary"] and pair and set(pair) <= set(measured):
            values = "; ".join(f"{run} {_with_interval(measured[run])}" for run in pair)
            return f"{entry['metric']}: {values} ({entry['name']}: {entry['claim_verdict']})"
    for template in HEADLINES:
        for name in config.evaluate.sets:
            measured = by_metric.get(template.format(set=name), {})
            if len(runs) > 1 and {runs[0], runs[-1]} <= set(measured):
                values = "; ".join(f"{run} {_with_interval(measured[run])}" for run in (runs[0], runs[-1]))
                return f"{template.format(set=name)}: {values}"
    return f"{len(by_metric)} metrics of {len(runs)} runs"


def _with_interval(row: dict[str, str]) -> str:
    value = f"{float(row['mean']):.3f}"
    return f"{value} [{float(row['ci_low']):.3f}, {float(row['ci_high']):.3f}]" if row["ci_low"] else value
