"""Tables of the page, as rows of text."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evenclip.label_columns import label_columns
from evenclip.report import words
from evenclip.report.words import Term, number
from evenclip.results import Estimate, StudyResults

N_WORDS = 10  # most frequent words of a label; a lexicon may have hundreds
FAMILIES = {
    "bias": "Bias of the model (0 is even)",
    "zeroshot": "Zero-shot classification (more is better)",
    "retrieval": "Retrieval (more is better)",
    "recognition": "Recognising the perceived attribute itself (more is better)",
    "compositional": "Choice between the right and a wrong caption (more is better)",
    "vqa": "Answers to questions about pictures (more is better)",
    "train": "Training",
}
SHOWN_ELSEWHERE = ("data/", "train/realised_")  # bias of the data has one number on the page: that of the pairs shown
STRATEGY_COLUMNS = {
    "n": Term("pairs", "n"),
    "retention": Term("mean weight", "retention"),
    "ess": Term("effective sample size", "ess"),
    "rb_before": Term("representation bias before", "rb_before"),
    "realised_rb": Term("representation bias as shown", "realised_rb"),
    "ab_before": Term("association bias before", "ab_before"),
    "realised_ab": Term("association bias as shown", "realised_ab"),
    "kept_min": Term("share that the least kept label keeps", "kept_min"),
    "relative_gap": Term("duality gap", "relative_gap"),
    "feasible": Term("within tolerance", "feasible"),
}


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the row."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def strategy_table(study: StudyResults) -> Table:
    """Table of the balancing strategies, from their certificates."""
    rows = [
        [words.strategy(name), *(number(report[key]) for key in STRATEGY_COLUMNS)]
        for name, report in study.strategies.items()
    ]
    caption = "Balancing strategies: bias of the data as it came, and of the pairs as shown in training"
    return Table(caption, ["strategy", *STRATEGY_COLUMNS.values()], rows)


def result_tables(study: StudyResults) -> list[Table]:
    """Tables of results, one per family of metrics: metric (and group) by run, as mean [interval]."""
    summary = study.summary[~study.summary["metric"].str.startswith(SHOWN_ELSEWHERE)]
    family = summary["metric"].str.partition("/")[0]
    order = [*(name for name in FAMILIES if (family == name).any()), *sorted(set(family) - set(FAMILIES))]
    return [_result_table(study, FAMILIES.get(name, name.replace("_", " ")), summary[family == name]) for name in order]


def _result_table(study: StudyResults, caption: str, part: pd.DataFrame) -> Table:
    names = [run.name for run in study.runs]
    has_chance = part["random"].notna().any()
    rows = []
    for (metric, group), cells in part.groupby(["metric", "group"], sort=False):
        by_run = {row.run: row for row in cells.itertuples()}
        values = [_result(by_run[name]) if name in by_run else "" for name in names]
        chance = [number(_chance(study, metric, group, cells))] if has_chance else []
        of_group = f": {group.removesuffix(' (insufficient)')}" if group else ""
        name = Term(f"{words.metric(study, metric)}{of_group}", metric)
        rows.append([name, *values, _count_range(cells["n"]), *chance])
    titles = [study.run_title(name) for name in names]
    return Table(caption, ["metric", *titles, "n", *(["chance"] if has_chance else [])], rows)


def _chance(study: StudyResults, metric: str, group: str, cells: pd.DataFrame) -> float | None:
    """The chance level that figures show too; of a single group, that of the first run that has it."""
    if not group:
        return study.chance(metric)
    return next(iter(cells["random"].dropna()), None)


def difference_table(study: StudyResults) -> Table:
    """Table of paired differences from the first run, with intervals: metric by run."""
    first = study.runs[0].name
    tests = study.tests[study.tests["run_a"] == first]
    others = list(dict.fromkeys(tests["run_b"]))
    cells = {(row.metric, row.run_b): row for row in tests.itertuples()}
    rows = []
    for metric in dict.fromkeys(tests["metric"]):
        compared = [cells.get((metric, run)) for run in others]
        n = max(row.n for row in compared if row is not None)
        differences = (_difference(row) if row is not None else "" for row in compared)
        rows.append([words.metric(study, metric), *differences, number(int(n))])
    header = ["metric", *(f"{run} - {study.run_title(first)}" for run in others), "seeds"]
    return Table("Mean difference over seeds [95 % interval]", header, rows)


def label_table(document: dict[str, Any], dataset: str) -> Table:
    """Table of labels read from captions: number of pairs, words, and example captions."""
    rows = []
    for column in label_columns(document["columns"]):
        facts = document["columns"][column.column]
        most = sorted(facts["words"].items(), key=lambda item: (-item[1], item[0]))[:N_WORDS]
        met = ", ".join(f"{word} ({n:,})" for word, n in most)
        counts = [number(facts["n"]), number(facts["share"])]
        rows.append([words.label(column.column), *counts, met, " · ".join(facts["examples"])])
    header = ["label", "pairs", "share", "words met", "captions with it, for example"]
    return Table(f"Labels of {dataset}, {document['n']:,} pairs", header, rows)


def making_table(study: StudyResults) -> Table:
    """Table of provenance, from the manifests: commit, device, time and fingerprint of each part."""
    entries = [(f"label {name}", document) for name, document in study.labels.items()]
    entries += [(f"balance {name}", study.balance_manifest(name)) for name in study.strategies]
    for run in study.runs:
        for seed in run.seeds:
            entries.append((f"train {study.run_title(run.name)} seed {seed}", study.training(run.name, seed)))
            for name, document in study.evaluations(run.name, seed).items():
                entries.append((f"evaluate {study.run_title(run.name)} seed {seed} on {name}", document["manifest"]))
    rows = [[what, *_making(manifest)] for what, manifest in entries]
    return Table("How everything was made", ["what", "commit", "device", "seconds", "ended (UTC)", "fingerprint"], rows)


def package_table(study: StudyResults) -> Table:
    """Table of the versions of Python and packages over all trainings."""
    versions: dict[str, set[str]] = {}
    for run in study.runs:
        for seed in run.seeds:
            manifest = study.training(run.name, seed)
            for name, version in {"python": manifest["python"], **manifest["packages"]}.items():
                versions.setdefault(name, set()).add(version)
    return Table("Versions", ["package", "version"], [[name, ", ".join(sorted(v))] for name, v in versions.items()])


def _result(row: Any) -> str:
    if not np.isfinite(row.mean):
        return f"insufficient (n = {int(row.n):,})"
    return words.interval(Estimate(row.mean, row.ci_low, row.ci_high))


def _difference(row: Any) -> str:
    return words.interval(Estimate(row.effect, row.ci_low, row.ci_high))


def _count_range(values: pd.Series) -> str:
    low, high = (int(value) for value in (values.min(), values.max()))
    return number(low) if low == high else f"{low:,} to {high:,}"


def _making(manifest: dict[str, Any]) -> list[str]:
    git = manifest["git"]
    commit = (git["commit"] or "no git")[:8] + (" + edits" if git["dirty"] else "")
    return [commit, manifest.get("device", ""), number(manifest["seconds"]), manifest["ended"], manifest["fingerprint"]]
