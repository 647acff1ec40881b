"""The ablation sheet of a study: a TSV, one row = one run; reads and checks it."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenclip.errors import InputError
from evenclip.options import parse_value
from evenclip.study.schema import StudyConfig


@dataclass(frozen=True)
class Run:
    """One row of the ablation sheet."""

    name: str
    strategy: str
    overrides: dict[str, Any] = field(default_factory=dict)
    """`train.<option>` -> value."""


def read_runs(path: Path, config: StudyConfig) -> list[Run]:
    """The rows of an ablation sheet; `InputError` naming row and column for the first thing that is wrong."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            rows, columns = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise InputError("no such ablation sheet", str(path), "check the key `ablations`") from None
    for required in ("run", "strategy"):
        if required not in columns:
            raise InputError(
                f"column '{required}' is missing", str(path), "columns: run, strategy, train.<option>, ..."
            )
    unknown = [c for c in columns if c not in ("run", "strategy") and not c.startswith("train.")]
    if unknown:
        raise InputError(f"unknown column '{unknown[0]}'", str(path), "columns: run, strategy, train.<option>, ...")
    runs = [_read_run(row, f"{path}, row {number}", config) for number, row in enumerate(rows, start=1)]
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise InputError("no runs" if not runs else "two rows have the same run name", str(path), "one row = one run")
    return runs


def _read_run(row: dict[str, str], where: str, config: StudyConfig) -> Run:
    name, strategy = row["run"] or "", row["strategy"] or ""
    if None in row:
        raise InputError("more cells than columns", where, "one cell per column, separated by tabs")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == "report":
        raise InputError(
            f"'{name}' cannot name a run", where, "a lower-case letter, then letters, digits and _; not 'report'"
        )
    if strategy not in config.balance:
        raise InputError(
            f"unknown strategy '{strategy}'", where, f"one of {', '.join(config.balance)}, or add it to `balance`"
        )
    overrides = {key: parse_value(text) for key, text in row.items() if key.startswith("train.") and text}
    return Run(name, strategy, overrides)
