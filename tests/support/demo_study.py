"""The demo study's values, to change and to load again, in the project's folder."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evenclip.options import read_yaml
from evenclip.study.study import Study
from support.project import ROOT

LABEL = {"dataset": "world", "lexicon": "config/lexicons/world.yaml"}


def demo_values() -> dict[str, Any]:
    """What the demo's study file says."""
    return read_yaml(ROOT / "config/config.yaml")


def demo_with(values: Mapping[str, Any] | None = None, sheet: Path | None = None, rows: str | None = None) -> Study:
    """The demo study with some of its blocks replaced, and with other ``rows`` written to ``sheet``."""
    changed = demo_values() | dict(values or {})
    if rows is not None:
        sheet.write_text(rows, encoding="utf-8")
        changed["ablations"] = str(sheet)
    return Study.from_mapping(changed, "demo")


def options_of(arguments: Iterable[str]) -> list[str]:
    """The ``key=value`` strings that follow ``--option``."""
    return [value for flag, value in itertools.pairwise(arguments) if flag == "--option"]
