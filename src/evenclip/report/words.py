"""Numbers, labels and metrics in words, for the page's tables and the figures' texts."""

from typing import Any

import numpy as np

from evenclip.results import Estimate, StudyResults


def number(value: Any) -> str:
    """A cell's text: counts with separators, shares with three decimals, tiny ones in powers of ten, '' for none."""
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
    """``0.280 [0.250, 0.310]``, without brackets where there is no interval."""
    places = 3 if abs(estimate.mean) < 100 else 0
    low, high = f"{estimate.ci_low:.{places}f}", f"{estimate.ci_high:.{places}f}"
    ends = f" [{low}, {high}]" if np.isfinite(estimate.ci_low) else ""
    return f"{estimate.mean:.{places}f}{ends}"


def all_runs(study: StudyResults, metric: str) -> str:
    """A metric of all runs: ``bias/people/rb: none 0.280 [0.250, 0.310], m4 ...``."""
    found = ((run.name, study.estimate(run.name, metric)) for run in study.runs)
    return f"{metric}: " + ", ".join(f"{name} {interval(estimate)}" for name, estimate in found if estimate)


def label(column: str) -> str:
    """A label column; attributes read from captions or images are perceived, and called so.

    >>> label("sensitive.gender.woman"), label("target.nurse"), label("proxy.hospital")
    ('perceived gender: woman', 'nurse', 'hospital (proxy)')
    """
    kind, _, name = column.partition(".")
    attribute, _, value = name.partition(".")
    return {"sensitive": f"perceived {attribute}: {value}", "proxy": f"{name} (proxy)"}.get(kind, name)
