"""Text forms of numbers, labels and metrics, for tables and figure descriptions."""

from typing import Any

import numpy as np

from evenclip.bias import UNDEFINED
from evenclip.label_columns import LabelColumn
from evenclip.results import Estimate, StudyResults


def number(value: Any) -> str:
    """Format a cell: counts with separators, shares with three decimals, tiny values in powers of ten, '' for none."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) or abs(value) >= 100:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 5e-4:
        return f"{value:.0e}"
    return f"{value:.3f}"


def interval(estimate: Estimate) -> str:
    """Format ``0.280 [0.250, 0.310]``; no brackets without an interval, ``undefined`` without a mean."""
    if np.isnan(estimate.mean):
        return UNDEFINED
    decimals = 3 if abs(estimate.mean) < 100 else 0
    low, high = f"{estimate.ci_low:.{decimals}f}", f"{estimate.ci_high:.{decimals}f}"
    ends = f" [{low}, {high}]" if np.isfinite(estimate.ci_low) else ""
    return f"{estimate.mean:.{decimals}f}{ends}"


def all_runs(study: StudyResults, metric: str) -> str:
    """Format a metric of all runs: ``bias/people/rb: none 0.280 [0.250, 0.310], m4 ...``."""
    estimates = ((run.name, study.estimate(run.name, metric)) for run in study.runs)
    return f"{metric}: " + ", ".join(f"{name} {interval(estimate)}" for name, estimate in estimates if estimate)


def label(column: str) -> str:
    """Describe a label column; attributes read from captions or images are marked as perceived.

    >>> label("sensitive.gender.woman"), label("target.nurse"), label("proxy.hospital")
    ('perceived gender: woman', 'nurse', 'hospital (proxy)')
    >>> label("image.sensitive.gender.woman")
    'perceived gender: woman (in the image)'
    """
    parsed = LabelColumn.parse(column)
    if parsed.role == "sensitive":
        words = f"perceived {parsed.name.rpartition('.')[0]}: {parsed.value}"
    else:
        words = f"{parsed.name} (proxy)" if parsed.role == "proxy" else parsed.name
    return f"{words} ({_SIDES[parsed.side]})" if parsed.side else words


_SIDES = {"image": "in the image", "text": "in the caption"}
