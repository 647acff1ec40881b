"""What balancing leaves of the data: the kept share of each label, group and pair of both, and warnings.

A kept share is a part's share of the weighted examples over its share of the data as they came: 1 = as before, 0.3 =
seven of ten are gone. The effective number of distinct rows of a part is Kish's (sum q)^2 / sum q^2 over its rows: what
is left when rows repeat.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from evenclip.bias import Contrast, masses

LOW_KEPT_SHARE = 0.5
MANY_COPIES = 10
LOW_RETENTION = 0.2
FEW_ROWS = 30
_MOST_NAMED = 5


def kept_shares(
    contrasts: Sequence[Contrast],
    label_names: Sequence[str],
    labels: sparse.csr_array,
    count: np.ndarray,
    stages: Mapping[str, np.ndarray],
    squares: np.ndarray,
) -> list[dict[str, Any]]:
    """The share of each label, group and pair of group and label at each stage, worst kept first.

    Parameters
    ----------
    contrasts : sequence of K Contrast
        Over n cells; both sides of each are groups.
    label_names : sequence of R str
    labels : scipy.sparse.csr_array, shape (n, R)
    count : numpy.ndarray, shape (n,)
        Rows of each cell.
    stages : mapping of str to numpy.ndarray, shape (n,)
        Total weight of each cell by stage; `before` is needed, `after` where there are weights.
    squares : numpy.ndarray, shape (n,)
        Sum of each cell's squared weights after balancing.

    Returns
    -------
    list of dict
        `group` (null = all rows), `label` (null = any), `rows`, the share at each stage, `kept` (after / before) and
        `effective_rows`. Parts without a row are left out.
    """
    rows = _table(contrasts, labels, count)
    tables = {stage: _table(contrasts, labels, mass) for stage, mass in stages.items()}
    last = tables.get("after", tables["before"])
    square = _table(contrasts, labels, squares)
    groups = [None, *(c.name for c in contrasts), *(c.outside_name for c in contrasts)]
    parts = []
    for g, r in zip(*np.nonzero(rows), strict=True):
        if g == r == 0:
            continue
        share = {stage: float(table[g, r] / table[0, 0]) for stage, table in tables.items()}
        effective = float(last[g, r] ** 2 / square[g, r]) if square[g, r] else 0.0
        kept = float(last[g, r] / last[0, 0]) / share["before"]
        names = {"group": groups[g], "label": label_names[r - 1] if r else None, "rows": int(rows[g, r])}
        parts.append(names | share | {"kept": kept, "effective_rows": effective})
    return sorted(parts, key=lambda part: part["kept"])


def _table(contrasts: Sequence[Contrast], labels: sparse.csr_array, weight: np.ndarray) -> np.ndarray:
    """Shape (1 + 2 K, 1 + R): mass of all rows and of each side of each contrast, in all and with each label."""
    weight = np.asarray(weight, float)
    inside, outside = masses(contrasts, labels, weight)
    return np.vstack([np.append(weight.sum(), labels.T @ weight), inside, outside])


def worst_label(kept: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The label that keeps least; None if there is no label."""
    return next((part for part in kept if part["group"] is None), None)


def part_name(part: Mapping[str, Any]) -> str:
    """A part in words."""
    if part["group"] and part["label"]:
        return f"({part['group']}, {part['label']})"
    return part["label"] or part["group"]


def warnings_of(
    kept: Sequence[Mapping[str, Any]], retention: float | None, most_copies: float | None, preserving: bool = False
) -> list[str]:
    """What a person should know before training on the weights, and what would help; one sentence each.

    Parameters
    ----------
    kept : sequence of dict
        As `kept_shares` returns them.
    retention, most_copies : float or None
        Mean weight, and most copies of a row per epoch; None = not known.
    preserving : bool
        Whether labels are preserved already.
    """
    warnings = []
    if lost := [part for part in kept if part["group"] is None and part["kept"] < LOW_KEPT_SHARE]:
        advice = "lower preserve_tolerance" if preserving else "`preserve: labels` keeps them"
        warnings.append(f"labels keep less than half of their share: {_listed(lost, 'kept')}; {advice}, or drop them")
    if most_copies is not None and most_copies > MANY_COPIES:
        advice = "set max_copies, or drop the labels that rest on few rows"
        warnings.append(f"a row is shown {most_copies:.3g} times per epoch (more than {MANY_COPIES}); {advice}")
    if retention is not None and retention < LOW_RETENTION:
        advice = "raise cap, widen the tolerances, or drop the label that blocks"
        warnings.append(f"the mean weight is {retention:.3g} (less than {LOW_RETENTION}); {advice}")
    if few := sorted((part for part in kept if part["effective_rows"] < FEW_ROWS), key=lambda p: p["effective_rows"]):
        what = f"fewer than {FEW_ROWS} effective distinct rows: {_listed(few, 'effective_rows')}"
        advice = f"label more of them, or leave out their labels (min_rows: {FEW_ROWS})"
        warnings.append(f"balance rests on {what}; {advice}")
    return warnings


def _listed(parts: Sequence[Mapping[str, Any]], value: str) -> str:
    named = ", ".join(f"{part_name(part)} {part[value]:.2g}" for part in parts[:_MOST_NAMED])
    return f"{named} and {len(parts) - _MOST_NAMED} more" if len(parts) > _MOST_NAMED else named
