"""The report's tables, as rows of ready text: what stands in the page, in the order of the page."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evenclip.report.figures import format_interval
from evenclip.report.samples import label_text
from evenclip.results import StudyResults

FAMILIES = {
    "data": "Bias of the training data, under the strategy's weights (0 is even)",
    "bias": "Bias of the model (0 is even)",
    "zeroshot": "Zero-shot classification (more is better)",
    "retrieval": "Retrieval (more is better)",
    "compositional": "Compositional choice between right and wrong caption (more is better)",
    "train": "Training",
}
STRATEGY_COLUMNS = {
    "retention": "share kept",
    "n": "pairs",
    "ess": "effective sample size",
    "rb_before": "RB before",
    "realised_rb": "RB after",
    "ab_before": "AB before",
    "realised_ab": "AB after",
    "relative_gap": "duality gap",
    "feasible": "feasible",
}


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the row."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def strategy_table(study: StudyResults) -> Table:
    """One row per balancing strategy, from its certificate."""
    rows = [[name, *(number(report.get(key)) for key in STRATEGY_COLUMNS)] for name, report in study.strategies.items()]
    caption = "Balancing strategies. RB and AB after are measured on the pairs as they are shown in training."
    return Table(caption, ["strategy", *STRATEGY_COLUMNS.values()], rows)


def result_tables(study: StudyResults) -> list[Table]:
    """One table per family of metrics: metric (and group) by run, as mean [interval]."""
    family = study.summary["metric"].str.partition("/")[0]
    names = [run.name for run in study.runs]
    order = [*(name for name in FAMILIES if (family == name).any()), *sorted(set(family) - set(FAMILIES))]
    tables = []
    for name in order:
        part = study.summary[family == name]
        rows = []
        for (metric, group), cells in part.groupby(["metric", "group"], sort=False):
            by_run = {cell["run"]: cell for _, cell in cells.iterrows()}
            values = [_result(by_run[run]) if run in by_run else "" for run in names]
            label = f"{metric} ({group})" if group else metric
            rows.append([label, *values, _range(cells["n"]), number(cells["random"].mean())])
        tables.append(Table(FAMILIES.get(name, name), ["metric", *names, "n", "chance"], rows))
    return tables


def tests_table(study: StudyResults) -> Table:
    """Paired tests between runs, the most surprising first."""
    columns = [c for c in ("metric", "run_a", "run_b", "effect", "statistic", "p", "p_holm", "n") if c in study.tests]
    table = study.tests.sort_values(["p_holm", "metric"], kind="stable")[columns]
    return Table(
        "Paired tests between runs",
        columns,
        [[number(value) for value in row] for row in table.itertuples(index=False)],
    )


def smallest_p(study: StudyResults) -> float | None:
    """The smallest two-sided p that a signed-rank test of the most pairs here could give: 2 / 2^n."""
    return None if study.tests.empty else float(2.0 ** (1 - study.tests["n"].max()))


def label_table(document: dict[str, Any], dataset: str) -> Table:
    """Labels read from the captions: how many pairs have each, and examples of captions."""
    n = document["n"]
    examples = document["examples"]
    rows = [
        [label_text(name), number(count), f"{count / n:.3f}" if n else "", " · ".join(examples.get(name, []))]
        for name, count in document["counts"].items()
    ]
    return Table(
        f"Labels of {dataset}, {n:,} pairs", ["label", "pairs", "share", "captions with it, for example"], rows
    )


def making_table(study: StudyResults) -> Table:
    """How each part was made, from the manifests: commit, seed, device, time and fingerprint."""
    entries = [(f"label {name}", document) for name, document in study.labels.items()]
    entries += [(f"balance {name}", study.balance_manifest(name)) for name in study.strategies]
    for run in study.runs:
        for seed in run.seeds:
            entries.append((f"train {run.name} seed {seed}", study.training(run.name, seed)))
            for name, document in study.evaluations(run.name, seed).items():
                entries.append((f"evaluate {run.name} seed {seed} on {name}", document["manifest"]))
    rows = [[what, *_making(manifest)] for what, manifest in entries]
    return Table("How everything was made", ["what", "commit", "device", "seconds", "ended (UTC)", "fingerprint"], rows)


def package_table(study: StudyResults) -> Table:
    """Versions of the packages, over all trainings."""
    found: dict[str, set[str]] = {}
    for run in study.runs:
        for seed in run.seeds:
            manifest = study.training(run.name, seed)
            for name, version in {"python": manifest["python"], **manifest["packages"]}.items():
                found.setdefault(name, set()).add(version)
    return Table("Versions", ["package", "version"], [[name, ", ".join(sorted(v))] for name, v in found.items()])


def number(value: Any) -> str:
    """A cell's text: counts with separators, shares with three decimals, small ones in powers of ten, '' for none."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) >= 1:
        return f"{int(value):,}"
    if value != 0 and abs(value) < 5e-4:
        return f"{value:.0e}"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _result(row: pd.Series) -> str:
    return format_interval(row) if np.isfinite(row["mean"]) else f"insufficient (n = {number(row['n'])})"


def _range(values: Iterable[float]) -> str:
    low, high = min(values), max(values)
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _making(manifest: dict[str, Any]) -> list[str]:
    git = manifest.get("git", {})
    commit = (git.get("commit") or "")[:8] + (" + edits" if git.get("dirty") else "")
    seconds = number(manifest.get("seconds"))
    return [commit, manifest.get("device", ""), seconds, manifest.get("ended", ""), manifest.get("fingerprint", "")]
