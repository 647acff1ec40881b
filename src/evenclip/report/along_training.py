"""Bias of the model during training, and mined negatives, for the runs that recorded them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenclip.report.drawing import Picture, finish, line_style, name_runs, panel, run_style
from evenclip.report.tables import Table
from evenclip.report.words import number
from evenclip.results import RunResult, StudyResults

BIASES = {"rb": "Representation bias", "ab_max": "Association bias"}
NEGATIVES = ("step", "text", "negative_text", "source", "similarity", "weight")
N_MOMENTS, N_NEGATIVES = 3, 4


def bias_curves(study: StudyResults) -> list[Picture]:
    """Curves of the model's representation bias (RB) and association bias (AB) during training, mean over seeds.

    Two-stage trainings get their own figures, together with the one-stage trainings on the same data. Empty if no run
    recorded its bias (`bias_history.parquet`).
    """
    recorded: dict[int, list[pd.DataFrame]] = {}
    for i, run in enumerate(study.runs):
        columns = ["step", *BIASES]
        histories = [study.record(run.name, seed, "bias_history", columns) for seed in run.seeds]
        if histories := [history for history in histories if history is not None]:
            recorded[i] = histories
    staged = [i for i in recorded if study.runs[i].options.get("train.stages")]
    groups = {
        "along the training": [i for i in recorded if i not in staged],
        "in two stages": _one_stage(study, recorded, staged) + staged if staged else [],
    }
    return [
        _curve(study, {i: recorded[i] for i in of_group}, column, f"{title} {what}")
        for what, of_group in groups.items()
        if of_group
        for column, title in BIASES.items()
    ]


def _one_stage(study: StudyResults, recorded: Iterable[int], staged: list[int]) -> list[int]:
    """One-stage runs on the data of a stage of the ``staged`` runs, with otherwise equal options."""
    strategies = {study.runs[i].strategy for i in staged}
    for i in staged:
        weights = study.runs[i].options["train.stages"]["first"]
        strategies.add(Path(weights).parent.name or weights)  # of balance/<strategy>/weights.parquet
    staged_options = [_without_stages(study.runs[i]) for i in staged]
    plain = (i for i in recorded if i not in staged)
    return [
        i for i in plain if study.runs[i].strategy in strategies and _without_stages(study.runs[i]) in staged_options
    ]


def _without_stages(run: RunResult) -> dict[str, Any]:
    return {key: value for key, value in run.options.items() if key != "train.stages"}


def _curve(study: StudyResults, recorded: dict[int, list[pd.DataFrame]], column: str, title: str) -> Picture:
    with panel(3.9) as (figure, axes):
        texts = []
        for i, histories in recorded.items():
            values = pd.concat(histories).groupby("step")[column].agg(["mean", "min", "max"])
            share = values.index.to_numpy() / values.index.max()
            look = (
                run_style(i) | line_style(i) | {"markersize": 4, "linewidth": 1.3, "markevery": max(len(share) // 8, 1)}
            )
            axes.plot(share, values["mean"], **look, label=study.run_title(study.runs[i].name))
            axes.fill_between(share, values["min"], values["max"], color=look["color"], alpha=0.12, linewidth=0)
            first, last = values["mean"].iloc[[0, -1]]
            texts.append(f"{study.run_title(study.runs[i].name)} from {first:.3f} to {last:.3f}")
            stages = study.runs[i].options.get("train.stages")
            if stages:
                axes.axvline(stages["share"], color=look["color"], linewidth=0.8, linestyle=":")
        axes.set(xlabel="share of the training", ylabel="of the model", title=title, xlim=(0, 1))
        axes.set_ylim(bottom=0)
        name_runs(figure, study, lines=True, only=list(recorded))
        return finish(figure, title.lower(), f"{title}: {'; '.join(texts)}.")


def negatives_tables(study: StudyResults) -> list[Table]:
    """Tables of the heaviest mined negatives at three steps, for the first seed of each run that recorded them."""
    tables = ((run, study.record(run.name, run.seeds[0], "negatives", NEGATIVES)) for run in study.runs)
    return [_negatives(study.run_title(run.name), table) for run, table in tables if table is not None and len(table)]


def _negatives(run: str, table: pd.DataFrame) -> Table:
    moments = np.unique(table["step"])
    moments = moments[np.unique(np.linspace(0, len(moments) - 1, N_MOMENTS).round().astype(int))]
    rows = []
    for step in moments:
        heaviest = table[table["step"] == step].nlargest(N_NEGATIVES, "weight")
        for row in heaviest.itertuples():
            values = [number(float(row.similarity)), number(float(row.weight))]
            rows.append([f"step {step:,}", row.text, row.negative_text, row.source, *values])
    header = ["when", "anchor", "mined negative", "from", "similarity", "weight"]
    return Table(f"Heaviest mined negatives of {run}; weight 1 = an ordinary negative", header, rows)
