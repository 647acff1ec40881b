"""Assembly of the report: figures, tables and the filled template."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evenclip import pages
from evenclip.balance import BalanceOptions, audit
from evenclip.errors import InputError
from evenclip.report import along_training, explorer, figures, headline, knowledge, labels, tables, words
from evenclip.report.claims import claim_rows, verdict_counts
from evenclip.report.drawing import Picture, themed
from evenclip.report.glossary import glossary
from evenclip.report.key_metrics import QUALITY
from evenclip.report.options import ReportOptions
from evenclip.report.samples import END, START, is_drawn, read_samples
from evenclip.results import StudyResults

INTERVALS = {
    "moderated": "over the seeds (Student's t; each run's variance is moderated by those of the other runs)",
    "t": "over the seeds (Student's t)",
    "bootstrap": "over the examples of a single seed (bootstrap)",
}


def render(study: StudyResults, options: ReportOptions) -> tuple[str, dict[str, list[Picture]]]:
    """Render the page; returns it with its figures by section."""
    content = gather(study, options) | explore(study)  # first: a missing file is reported before the slow drawing
    pictures = draw(study)
    filters = {"data_uri": _data_uri, "in_words": lambda text: words.in_words(study, text)}
    page = pages.render(Path(__file__).parent / "page.html.j2", content | {"pictures": pictures}, **filters)
    return page, pictures


def gather(study: StudyResults, options: ReportOptions) -> dict[str, Any]:
    """Variables of the template, except the figures."""
    if study.summary.empty:
        raise InputError("the study has no metrics", str(study.folder / "summary.csv"), "run `evenclip summarize`")
    titles = {run.name: study.run_title(run.name) for run in study.runs}
    claims = claim_rows(study.claims, titles)
    shown = {name: document for name, document in study.labels.items() if options.photos or is_drawn(document)}
    return {
        "study": study,
        "titles": titles,
        "headline": headline.headline(study),
        "sets": sorted(
            {name for run in study.runs for seed in run.seeds for name in study.evaluations(run.name, seed)}
        ),
        "samples": {name: read_samples(study, name, document) for name, document in shown.items()},
        "hidden_samples": sorted(study.labels.keys() - shown.keys()),
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
        "glossary": glossary(study),
        "making": tables.making_table(study),
        "packages": tables.package_table(study),
    }


def explore(study: StudyResults) -> dict[str, Any]:
    """Data, script and library of the interactive figure; without data if there are too few metrics."""
    bias = headline.headline_bias(study)
    x = headline.label_accuracy(study) or next(iter(headline.quality_metrics(study)), "")
    data = explorer.explorer_data(study, x, bias or "")
    script = (Path(__file__).parent / "explorer.js").read_text(encoding="utf-8")
    return {"explorer": data, "script": script, "plotly": explorer.plotly_library() if data else ""}


def draw(study: StudyResults) -> dict[str, list[Picture]]:
    """All figures, by section of the page."""
    training = [figures.training_curves(study)]
    representation, association = study.measured("bias/*/rb"), study.measured("bias/*/ab_max")
    quality = [metric for pattern in QUALITY for metric in study.measured(pattern)]
    compositional: dict[str, list[str]] = {}
    for metric in study.measured("compositional/*/*"):
        compositional.setdefault(metric.split("/", 1)[1].rpartition("/")[0], []).append(metric)
    compared = [*association, *representation, *quality, *study.measured("recognition/*/acc1")]
    audits = {name: _audit(study, name) for name in study.strategies}
    return {
        "tradeoff": [figures.bias_against_quality(study, *pair) for pair in _pairs(study, association)],
        "quality": [figures.metric_plot(study, metric) for metric in quality]
        + [figures.family_plot(study, probes, f"Right caption on {on}") for on, probes in compositional.items()],
        "data": [
            figures.data_bias(audits, "rb", "Representation bias of the data"),
            figures.data_bias(audits, "ab", "Association bias of the data"),
        ],
        "labels of the data": _drawn([labels.kept_shares(study), labels.data_associations(audits)]),
        "labels by strategy": _drawn(labels.love_plot(audit, name) for name, audit in audits.items() if name != "none"),
        "model": [figures.metric_plot(study, metric) for metric in [*association, *representation]],
        "labels of the model": _drawn(labels.model_associations(study, metric) for metric in association),
        "training": training + along_training.bias_curves(study),
        "differences": _drawn(figures.forest_plot(study, metric) for metric in compared),
        "knowledge": [knowledge.graph_sample(study)] if study.graph else [],
    }


def _pairs(study: StudyResults, association: list[str]) -> list[tuple[str, str]]:
    """Bias and quality to draw against each other: every association bias against label accuracy, then the rest."""
    bias = headline.headline_bias(study)
    accuracy = headline.label_accuracy(study)
    quality = headline.quality_metrics(study)
    ordered = sorted(association, key=lambda metric: metric != bias)
    against_first = [(metric, name) for metric in ordered for name in [accuracy or next(iter(quality), None)] if name]
    others = [(bias, name) for name in quality if bias in association]
    return list(dict.fromkeys(against_first + others))


def _drawn(pictures: Iterable[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _audit(study: StudyResults, strategy: str) -> dict[str, Any]:
    """Bias of the training data under a strategy's weights, with intervals."""
    where = f"{study.folder}/balance/{strategy}/manifest.json"
    options = BalanceOptions.parse(study.balance_manifest(strategy)["options"], where)
    return audit(study.balanced_labels(strategy), study.weights(strategy), options)


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(themed(svg)).decode()
