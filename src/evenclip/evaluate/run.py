"""Evaluation of one set: read embeddings and truth, measure every task, write the metrics.

Reads `<set>.npz` and the data folder; writes `results/<study>/evaluate/<run>/seed<k>/<set>.json` =
``{"manifest": {...}, "metrics": [MetricRow, ...]}``. Command: `evenclip evaluate`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from evenclip.digests import check_digest
from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import BiasMeasurement, Definition, Measurement
from evenclip.evaluate.options import EvaluateOptions, Task, train_split
from evenclip.evaluate.reading import read_embedded_set
from evenclip.provenance import Manifest
from evenclip.tables import MetricRow

PROMPT_SENSITIVITY = (
    Definition("{bias metric}_prompt_mean", "mean of the metric over its single prompt templates",
               "(1/T) sum_t metric under template t", "that of the metric", "that of the metric",
               "ours"),
    Definition("{bias metric}_prompt_range", "range of the metric over its single prompt templates",
               "max_t - min_t of the metric under template t", "[0, width of the metric's range]", "none",
               "ours"),
)  # fmt: skip


@dataclass(frozen=True)
class Embedder:
    """Model that embedded a set: its name as given, its identity (`evenclip.model.identity`), precision and device."""

    name: str
    identity: dict[str, str]
    precision: str
    device: str

    @classmethod
    def beside(cls, embeddings: Iterable[Path]) -> Self | None:
        """Model of `.npz` files, from the manifests of `evenclip embed` beside them; None without a manifest.

        Raises
        ------
        InputError
            The files come from different models.
        """
        embedders = [
            embedder for folder in dict.fromkeys(path.parent for path in embeddings) if (embedder := cls._of(folder))
        ]
        for embedder in embedders[1:]:
            if embedder.identity != embedders[0].identity:
                what = f"embeddings of '{embedders[0].name}' and of another model, '{embedder.name}'"
                raise InputError(what, ", ".join(map(str, embeddings)), "evaluate the embeddings of one model")
        return embedders[0] if embedders else None

    @classmethod
    def _of(cls, folder: Path) -> Self | None:
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            check_digest(manifest, folder / "manifest.json")
            options = manifest["options"]
            return cls(options["model"], manifest["model_identity"], options["precision"], manifest["device"])
        except (OSError, ValueError, KeyError, TypeError):  # no manifest, or that of another tool
            return None

    def as_manifest(self) -> dict[str, Any]:
        """Entries for an evaluation's manifest."""
        embedding = {"precision": self.precision, "device": self.device}
        return {"model": self.name, "model_identity": self.identity, "embedding": embedding}


def evaluate_set(
    dataset: Path, embeddings: list[Path], name: str, tasks: list[Task], out: Path, seed: int,
    options: EvaluateOptions, train_embeddings: list[Path] | None = None, embedder: Embedder | None = None,
    lexicon: Path | None = None,
) -> dict:  # fmt: skip
    """Measure ``tasks`` on one set and write ``out``.

    Parameters
    ----------
    dataset : Path
        Data folder with the truth columns; it must contain every key of the embeddings.
    embeddings : list of Path
        One or more `.npz` files of the set (see `read_embedded_set`).
    name : str
        Name of the set in the metrics.
    tasks : list of Task
        What to measure.
    out : Path
        JSON file to write.
    seed : int
        Seed of the bootstrap.
    options : EvaluateOptions
    train_embeddings : list of Path, optional
        `.npz` files of the split that a linear probe trains on. Its data folder is beside ``dataset``.
    embedder : Embedder, optional
        Model that embedded the set, for the manifest; default: as in the manifest beside ``embeddings``.

    lexicon : Path, optional
        Lexicon by which captions name the perceived attributes that the data folder has no column of.

    Returns
    -------
    dict
        The document as written.

    Raises
    ------
    InputError
        A file, column, class or task is wrong, or two tasks measure the same metric.
    """
    if not name or "/" in name:
        raise InputError(f"'{name}' cannot name a set", "--name", "use letters, digits and _, e.g. world_people")
    embedder = embedder or Embedder.beside([*embeddings, *(train_embeddings or [])])
    described = {"name": name, "tasks": [task.model_dump(mode="json") for task in tasks], **options.model_dump()}
    columns = sorted({column for task in tasks for column in task.root.columns})
    data = read_embedded_set(dataset, embeddings, name, columns, lexicon)
    inputs = {"dataset": dataset} | _named("embeddings", embeddings) | ({"lexicon": lexicon} if lexicon else {})
    split = train_split(tasks)
    if split and train_embeddings:
        needed = sorted({column for task in tasks if task.root.learns_from for column in task.root.columns})
        train = read_embedded_set(dataset.parent / split, train_embeddings, f"{name}_{split}", needed)
        data = replace(data, train=train)
        inputs |= {"train": dataset.parent / split} | _named("train embeddings", train_embeddings)
    manifest = Manifest("evaluate", described, inputs, seed)
    bootstrap = Bootstrap(options.resamples, seed)
    rows = [row for task in tasks for row in measure_task(task.root, data, bootstrap, options)]
    _check_distinct(rows, name)
    model_entries = embedder.as_manifest() if embedder else {}
    counts = {"n": data.n, "n_without_embedding": data.n_without_embedding}
    return manifest.write_metrics([row.as_dict() for row in rows], out, **counts, **model_entries)


def _named(name: str, paths: list[Path]) -> dict[str, Path]:
    return {f"{name} {i}" if i else name: path for i, path in enumerate(paths)}


def measure_task(
    task: Measurement, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions
) -> list[MetricRow]:
    """Rows of one task: its metrics and, for a bias task, their prompt sensitivity."""
    if task.suffix:
        data = replace(data, name=f"{data.name}_{task.suffix}")
    rows = list(task.measure(data, bootstrap, options))
    if options.prompt_sensitivity and isinstance(task, BiasMeasurement):
        rows += over_templates(task, data, bootstrap.seed, options)
    return [replace(row, people=task.people) for row in rows]


def over_templates(task: BiasMeasurement, data: EmbeddedSet, seed: int, options: EvaluateOptions) -> list[MetricRow]:
    """Prompt sensitivity: mean and range of each metric over its single prompt templates; n = number of templates.

    Single groups and labels are left out. Empty if the prompts have only one template.
    """
    n_templates = len(data.prompts[task.prompts].templates)
    if n_templates < 2:
        return []
    one_resample = Bootstrap(1, seed)  # intervals of single templates are not reported
    measured = [
        {row.metric: row for row in task.measure(data.with_template(task.prompts, index), one_resample, options)
         if not row.group and row.value is not None}
        for index in range(n_templates)
    ]  # fmt: skip
    return [row for metric in measured[0] for row in _template_rows(metric, [rows[metric] for rows in measured])]


def _template_rows(metric: str, rows: list[MetricRow]) -> Iterator[MetricRow]:
    values, chances = np.array([row.value for row in rows]), [row.random for row in rows if row.random is not None]
    random = float(np.mean(chances)) if chances else None
    yield MetricRow(f"{metric}_prompt_mean", float(values.mean()), None, None, len(rows), random=random)
    yield MetricRow(f"{metric}_prompt_range", float(np.ptp(values)), None, None, len(rows))


def _check_distinct(rows: list[MetricRow], name: str) -> None:
    seen = set()
    for row in rows:
        if (row.metric, row.group) in seen:
            raise InputError(
                f"two tasks measure {row.metric}", f"the tasks of {name}", "give one of them a suffix, e.g. by_race"
            )
        seen.add((row.metric, row.group))
