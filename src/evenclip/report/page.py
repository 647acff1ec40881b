"""Assembly of the report: figures, tables and the filled template."""

import base64
import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evenclip import pages
from evenclip.balance import BalanceOptions, audit
from evenclip.errors import InputError
from evenclip.report import along_training, explorer, figures, knowledge, tables
from evenclip.report.claims import claim_rows, verdict_counts
from evenclip.report.drawing import Picture
from evenclip.report.samples import END, START, read_samples
from evenclip.results import StudyResults

HEADLINE_QUALITY = {
    "zeroshot/*/acc1": "Zero-shot accuracy",
    "retrieval/*/image_to_text_recall_at_5": "Text recall at 5",
}
INTERVALS = {
    "moderated": "over the seeds (Student's t; each run's variance is moderated by those of the other runs)",
    "t": "over the seeds (Student's t)",
    "bootstrap": "over the examples of a single seed (bootstrap)",
}


def render(study: StudyResults) -> tuple[str, list[Picture]]:
    """Render the page; returns it with its figures."""
    content = gather(study) | explore(study)  # first, so that a missing file is reported before the slow drawing
    pictures = draw(study)
    page = pages.render(Path(__file__).parent / "page.html.j2", content | {"pictures": pictures}, data_uri=_data_uri)
    return page, [picture for group in pictures.values() for picture in group]


def gather(study: StudyResults) -> dict[str, Any]:
    """Variables of the template, except the figures."""
    if study.summary.empty:
        raise InputError("the study has no metrics", str(study.folder / "summary.csv"), "run `evenclip summarize`")
    claims = claim_rows(study.claims)
    return {
        "study": study,
        "sets": sorted(
            {name for run in study.runs for seed in run.seeds for name in study.evaluations(run.name, seed)}
        ),
        "samples": {name: read_samples(study, name, document) for name, document in study.labels.items()},
        "samples_start": START,
        "samples_end": END,
        "strategies": tables.strategy_table(study),
        "results": tables.result_tables(study),
        "intervals": [text for name, text in INTERVALS.items() if (study.summary["interval"] == name).any()],
        "differences": tables.difference_table(study),
        "claims": claims,
        "verdicts": verdict_counts(claims),
        "negatives": along_training.negatives_tables(study),
        "labels": [tables.label_table(document, name) for name, document in study.labels.items()],
        "knowledge": [knowledge.statistics_table(study.graph)] if study.graph else [],
        "making": tables.making_table(study),
        "packages": tables.package_table(study),
    }


def explore(study: StudyResults) -> dict[str, Any]:
    """Data, script and library of the interactive figure; without data if there are too few metrics."""
    x = next((metric for pattern in HEADLINE_QUALITY for metric in _measured(study, pattern)), "")
    data = explorer.explorer_data(study, x, next(iter(_measured(study, "bias/*/ab_max")), ""))
    script = (Path(__file__).parent / "explorer.js").read_text(encoding="utf-8")
    return {"explorer": data, "script": script, "plotly": explorer.plotly_library() if data else ""}


def draw(study: StudyResults) -> dict[str, list[Picture]]:
    """All figures, by section of the page."""
    training = [figures.training_curves(study)]
    representation, association = _measured(study, "bias/*/rb"), _measured(study, "bias/*/ab_max")
    quality = {metric: title for pattern, title in HEADLINE_QUALITY.items() for metric in _measured(study, pattern)}
    first = [metrics[0] for pattern in HEADLINE_QUALITY if (metrics := _measured(study, pattern))]
    pairs = [(bias, metric) for bias in association for metric in first]
    compositional: dict[str, list[str]] = {}
    for metric in _measured(study, "compositional/*/*"):
        compositional.setdefault(_set(metric), []).append(metric)
    recognition = dict.fromkeys(_measured(study, "recognition/*/acc1"), "Recognition")
    headline = dict.fromkeys(association, "Association bias") | dict.fromkeys(representation, "Representation bias")
    headline |= quality | recognition
    audits = {name: _audit(study, name) for name in study.strategies}
    model = dict.fromkeys(representation, "Representation bias") | dict.fromkeys(association, "Association bias")
    return {
        "scatter": [figures.bias_against_quality(study, *pair) for pair in pairs],
        "quality": [
            figures.metric_plot(study, metric, f"{title} on {_set(metric)}") for metric, title in quality.items()
        ]
        + [figures.family_plot(study, probes, f"Right caption on {on}") for on, probes in compositional.items()],
        "data": [
            figures.data_bias(audits, "rb", "Representation bias of the data"),
            figures.data_bias(audits, "ab", "Association bias of the data"),
        ],
        "model": [figures.metric_plot(study, metric, f"{title} on {_set(metric)}") for metric, title in model.items()],
        "training": training + along_training.bias_curves(study),
        "differences": _drawn(figures.forest_plot(study, metric, title) for metric, title in headline.items()),
        "love": _drawn(figures.love_plot(audit, name) for name, audit in audits.items() if name != "none"),
        "knowledge": [knowledge.graph_sample(study)] if study.graph else [],
    }


def _drawn(pictures: Iterable[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _audit(study: StudyResults, strategy: str) -> dict[str, Any]:
    """Bias of the training data under a strategy's weights, with intervals."""
    where = f"{study.folder}/balance/{strategy}/manifest.json"
    options = BalanceOptions.parse(study.balance_manifest(strategy)["options"], where)
    return audit(study.balanced_labels(strategy), study.weights(strategy), options)


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _measured(study: StudyResults, pattern: str) -> list[str]:
    """Metrics that match ``family/*/measure`` and have a value for some run, in the order of summary.csv."""
    table = study.summary
    named = table["metric"].map(lambda metric: fnmatch.fnmatchcase(metric, pattern))
    return list(dict.fromkeys(table["metric"][named & (table["group"] == "") & table["mean"].notna()]))


def _set(metric: str) -> str:
    return metric.split("/", 1)[1].rpartition("/")[0]
