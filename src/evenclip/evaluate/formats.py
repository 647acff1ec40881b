"""Evaluations of one or several models as one table: text, Markdown, JSON, and CSV in tidy and in wide form.

Tidy: a row for each model, metric and group. Wide: a row for each metric and group, with a column for each model.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evenclip.evaluate.evaluated_model import EvaluatedModel

TIDY_COLUMNS = ("model", "metric", "group", "value", "ci_low", "ci_high", "random", "n", "people")
ONE_MODEL_HEADER = ("metric", "group", "value", "95 % interval", "random", "n")

Documents = Sequence[Mapping[str, Any]]


def tidy_rows(documents: Documents) -> list[dict[str, Any]]:
    """One row with `TIDY_COLUMNS` for each model, metric and group, in the order of the evaluations."""
    names = model_names(documents)
    return [
        {"model": name, **{column: row[column] for column in TIDY_COLUMNS[1:]}}
        for name, document in zip(names, documents, strict=True)
        for row in document["metrics"]
    ]


def model_names(documents: Documents) -> list[str]:
    """Name of each evaluation's model, as it was given."""
    return [EvaluatedModel.of(document["manifest"]).name for document in documents]


def wide_table(rows: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, str, list[float | None]]]]:
    """Models, and (metric, group, value of each model); None where a model has no value."""
    rows = list(rows)
    models = list(dict.fromkeys(row["model"] for row in rows))
    value = {(row["metric"], row["group"], row["model"]): row["value"] for row in rows}
    cells = dict.fromkeys((row["metric"], row["group"]) for row in rows)
    return models, [(metric, group, [value.get((metric, group, m)) for m in models]) for metric, group in cells]


def as_tidy_csv(documents: Documents) -> str:
    """CSV with a row for each model, metric and group; empty = no value."""
    return _csv([TIDY_COLUMNS, *([row[column] for column in TIDY_COLUMNS] for row in tidy_rows(documents))])


def as_wide_csv(documents: Documents) -> str:
    """CSV with a row for each metric and group, and the values of each model in a column."""
    models, rows = wide_table(tidy_rows(documents))
    return _csv([("metric", "group", *models), *([metric, group, *values] for metric, group, values in rows)])


def as_markdown(documents: Documents) -> str:
    """Markdown table with a column for each model, as `value [95 % interval]`."""
    models, lines = _lines(documents)
    rows = [["metric", "group", *models], ["---"] * (2 + len(models)), *lines]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows)


def as_json(documents: Documents) -> str:
    """The evaluation as written; of several, a list of them."""
    return json.dumps(documents[0] if len(documents) == 1 else list(documents), indent=1)


def as_text(documents: Documents) -> str:
    """Table for a terminal: of one model with chance level and number of examples, of several a column for each."""
    names = dict.fromkeys(model_names(documents))
    parts = []
    for title, people in (("about people", True), ("not about people", False)):
        chosen = [_only(document, people) for document in documents]
        if not any(document["metrics"] for document in chosen):
            continue
        if len(names) == 1:
            header, lines = ONE_MODEL_HEADER, [_cells(row) for document in chosen for row in document["metrics"]]
        else:
            models, lines = _lines(chosen)
            header = ("metric", "group", *models)
        parts.append("\n".join([title, *_aligned([header, *lines])]))
    return "\n\n".join(parts)


FORMATS = {"table": as_text, "markdown": as_markdown, "json": as_json, "csv": as_tidy_csv, "wide": as_wide_csv}
"""Writers by name, as `evenclip evaluate --format` takes them."""


def _only(document: Mapping[str, Any], people: bool) -> dict[str, Any]:
    return {**document, "metrics": [row for row in document["metrics"] if row["people"] == people]}


def _lines(documents: Documents) -> tuple[list[str], list[list[str]]]:
    """Models and lines of a table with a column for each, without groups in the metric's name."""
    rows = tidy_rows(documents)
    models, cells = wide_table(rows)
    text = {(row["metric"], row["group"], row["model"]): " ".join(_cells(row)[2:4]).strip() for row in rows}
    lines = [
        [metric, group.removesuffix(" (insufficient)"), *(text.get((metric, group, model), "") for model in models)]
        for metric, group, _ in cells
    ]
    return models, lines


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = "" if row["ci_low"] is None else f"[{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
    value = "insufficient" if row["value"] is None else f"{row['value']:.4f}"
    random = "" if row["random"] is None else f"{row['random']:.4f}"
    return row["metric"], row["group"].removesuffix(" (insufficient)"), value, interval, random, str(row["n"])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        padded += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield f"  {'  '.join(padded)}"


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split("\n"))
