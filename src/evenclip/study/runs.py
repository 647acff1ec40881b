"""The ablation sheet of a study: a TSV in which one row is one run; reads and checks it."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evenclip.errors import InputError
from evenclip.options import parse_value, read_text
from evenclip.study.schema import StudyConfig
from evenclip.train.options import TrainOptions

COLUMNS = "columns: run, strategy, train.<option>, ..."


@dataclass(frozen=True)
class Run:
    """One row of the ablation sheet: a model that is trained once with each seed."""

    name: str
    strategy: str
    options: TrainOptions
    """How it is trained: the study's block with the row's overrides."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What the row says: `train.<option>` -> value."""

    def uses_graph(self, config: StudyConfig) -> bool:
        """Whether the run learns from the study's knowledge graph."""
        return self.options.needs("graph") or (config.graph is not None and self.options.uses("graph"))

    def learns_links(self) -> bool:
        """Whether the training leaves an encoder that can predict links of the graph."""
        return any(method.learns_links() for method in self.options.methods().values())

    def files(self, seed: int | str) -> list[str]:
        """Files that the options name, such as the model's configuration: an edit of them trains again."""
        return list(dict.fromkeys(self.options.of_seed(seed).files().values()))

    def stage_outputs(self) -> list[str]:
        """What other stages make for the run's options: weights of a first stage, manifests of a probe's data."""
        paths = self.options.stage_outputs().values()
        return [path if path.endswith(".parquet") else f"{path}/manifest.json" for path in paths]


def read_runs(config: StudyConfig) -> dict[str, Run]:
    """The runs of a study by name; `InputError` naming row and column for the first thing that is wrong.

    Parameters
    ----------
    config : StudyConfig
        Its `ablations` is the sheet, its `train` what all runs share, its `balance` the strategies to choose from.
    """
    path = config.ablations
    try:
        lines = io.StringIO(read_text(path, "check the key `ablations`"), newline="")
        reader = csv.DictReader(lines, delimiter="\t", strict=True)
        rows, columns = list(reader), list(reader.fieldnames or [])
    except csv.Error as error:
        raise InputError(
            f"not a tab-separated table ({error})", path, "one cell per column, separated by tabs"
        ) from None
    for number, row in enumerate(rows, start=1):
        if any("\n" in cell for cell in row.values() if isinstance(cell, str)):
            hint = "close it, or leave it out"
            raise InputError(
                "a quotation mark that is never closed swallows the rows below it", f"{path}, row {number}", hint
            )
    for required in ("run", "strategy"):
        if required not in columns:
            raise InputError(f"column '{required}' is missing", path, COLUMNS)
    if unknown := [column for column in columns if not re.fullmatch(r"run|strategy|train\.[^.].*", column)]:
        raise InputError(f"unknown column '{unknown[0][:80]}'", path, COLUMNS)
    if twice := [column for i, column in enumerate(columns) if column in columns[:i]]:
        raise InputError(f"the column '{twice[0]}' occurs twice", path, "one column for each option")
    runs = [_read_run(row, f"{path}, row {number}", config) for number, row in enumerate(rows, start=1)]
    by_name = {run.name: run for run in runs}
    if not runs or len(by_name) < len(runs):
        raise InputError("no runs" if not runs else "two rows have the same run name", path, "one row = one run")
    return by_name


def _read_run(row: dict[str | None, str | None], where: str, config: StudyConfig) -> Run:
    name, strategy = row["run"] or "", row["strategy"] or ""
    if None in row:
        raise InputError("more cells than columns", where, "one cell per column, separated by tabs")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or name == "report":
        hint = "a lower-case letter, then letters, digits and _, 100 at most; not 'report'"
        raise InputError(f"'{name[:100]}' cannot name a run", where, hint)
    if strategy not in config.balance:
        hint = f"one of {', '.join(config.balance)}, or add it to `balance`"
        raise InputError(f"unknown strategy '{strategy[:100]}'", where, hint)
    overrides = {column: parse_value(cell) for column, cell in row.items() if column.startswith("train.") and cell}
    return Run(name, strategy, _with_overrides(config, overrides, f"{config.ablations}, run {name}"), overrides)


def _with_overrides(config: StudyConfig, overrides: Mapping[str, Any], where: str) -> TrainOptions:
    """The study's training block with a row's overrides; a column may name one key of a nested block."""
    values = config.train.model_dump()
    for column, value in overrides.items():
        *blocks, key = column.removeprefix("train.").split(".")
        if outer := [other for other in overrides if column.startswith(f"{other}.")]:
            hint = "fill one of the two, or write all keys into the block"
            raise InputError(f"'{outer[0]}' and '{column}' are both given", where, hint)
        inner = values
        for block in blocks:
            inner[block] = inner.get(block) or {}  # the sheet switches a method on by naming one of its keys
            inner = inner[block]
            if not isinstance(inner, dict):
                raise InputError(f"unknown column '{column}'", where, f"'{block}' is one value, without keys inside")
        inner[key] = value
    weights = {name: f"{config.results}/balance/{name}/weights.parquet" for name in config.balance}
    return TrainOptions.parse(values, where).with_weights_of(weights)
