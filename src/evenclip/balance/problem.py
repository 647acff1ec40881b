"""The problem that a strategy is given: contrasts, moments, and what was left out because it cannot be balanced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evenclip.balance.moments import Moments, build_moments
from evenclip.balance.options import BalanceOptions
from evenclip.balance.table.cells import Cells
from evenclip.bias import Bias, Contrast, Group, bias_of_masses, make_contrasts, masses
from evenclip.errors import InputError
from evenclip.label_columns import LabelColumn


@dataclass(frozen=True)
class Dropped:
    """A group or label that is left out of the problem."""

    name: str
    reason: str


def listed(dropped: Sequence[Dropped]) -> str:
    """What was left out in words, by reason."""
    by_reason: dict[str, list[str]] = {}
    for entry in dropped:
        by_reason.setdefault(entry.reason, []).append(entry.name)
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())


@dataclass(frozen=True)
class Problem:
    """What a strategy is given.

    Attributes
    ----------
    cells : Cells
        Unique rows of the labels table with their counts.
    contrasts : list of Contrast
        Groups and what they are compared with, over the cells.
    labels : tuple of str
        Columns of the labels that are balanced.
    proxies : tuple of str
        Columns of the proxies that are balanced too.
    moments : Moments
        What M4 matches, with tolerances.
    options : BalanceOptions
    seed : int
        Of everything random.
    dropped : list of Dropped
        Groups and labels that cannot be balanced.
    """

    cells: Cells
    contrasts: list[Contrast]
    labels: tuple[str, ...]
    proxies: tuple[str, ...]
    moments: Moments
    options: BalanceOptions
    seed: int
    dropped: list[Dropped]

    @property
    def label_names(self) -> list[str]:
        """Short names of the labels that are balanced."""
        return [LabelColumn.parse(column).short_name for column in self.labels]


def make_problem(cells: Cells, options: BalanceOptions, seed: int, where: str) -> Problem:
    """The problem of a labels table; ``where`` names the table in errors.

    Groups and labels that cannot be balanced are left out, or refused where ``options.strict``.

    Raises
    ------
    InputError
        There are fewer rows than groups, nothing is left to balance, or ``options.strict`` and something would be left
        out.
    """
    if cells.n < len(cells.columns.sensitive):
        raise InputError(f"{cells.n} rows are fewer than the {len(cells.columns.sensitive)} groups", where, "add rows")
    contrasts, dropped = _usable_contrasts(
        cells, contrasts_of(cells, options.attribute_coding, options.target), options
    )
    labels, dropped_labels = _usable_labels(cells, cells.columns.target, contrasts, options)
    proxies, dropped_proxies = _usable_labels(cells, cells.columns.proxy if options.proxies else (), contrasts, options)
    dropped += dropped_labels + dropped_proxies
    if dropped and options.strict:
        what = f"groups or labels cannot be balanced: {listed(dropped)}"
        raise InputError(what, where, "drop these columns, or set strict: false")
    for remaining, role in ((contrasts, "group"), (labels, "label")):
        if not remaining:
            instead = "label more rows, lower min_rows, or leave out a rare group"
            raise InputError(f"no {role} is left to balance: {listed(dropped)}", where, instead)
    moments = build_moments(cells, contrasts, labels + proxies, options)
    return Problem(cells, contrasts, labels, proxies, moments, options, seed, dropped)


def contrasts_of(cells: Cells, coding: str, target: Mapping[str, float]) -> list[Contrast]:
    """Contrasts of all attributes of a labels table; see `evenclip.bias.make_contrasts`.

    Raises
    ------
    InputError
        ``target`` names an unknown group or contradicts itself, or signed coding meets an attribute without two groups.
    """
    columns = [LabelColumn.parse(column) for column in cells.columns.sensitive]
    groups = [Group(c.attribute, c.short_name, cells.value(c.column), cells.is_known(c.column)) for c in columns]
    return make_contrasts(groups, coding, target, cells.count)


def _usable_contrasts(
    cells: Cells, contrasts: Sequence[Contrast], options: BalanceOptions
) -> tuple[list[Contrast], list[Dropped]]:
    """Contrasts with enough rows on both sides, and the others with the reason."""
    usable, dropped = [], []
    for contrast in contrasts:
        inside, outside = (int(cells.count[side].sum()) for side in (contrast.inside, contrast.outside))
        if min(inside, outside) >= options.min_rows:
            usable.append(contrast)
        elif inside + outside == 0:
            dropped.append(Dropped(contrast.name, "every value is null, or no row shows exactly one group"))
        elif min(inside, outside) == 0:
            side, other = ("in", "outside") if inside == 0 else ("outside", "in")
            reason = f"the attribute is constant: no row is {side} the group, {inside + outside} are {other}"
            dropped.append(Dropped(contrast.name, reason))
        else:
            reason = f"too few rows ({inside} in the group, {outside} outside; min_rows is {options.min_rows})"
            dropped.append(Dropped(contrast.name, reason))
    return usable, dropped


def _usable_labels(
    cells: Cells, columns: tuple[str, ...], contrasts: Sequence[Contrast], options: BalanceOptions
) -> tuple[tuple[str, ...], list[Dropped]]:
    """Labels that enough rows have and, where they are to be kept, on both sides of each contrast."""
    usable, dropped = [], []
    for column in columns:
        has_label = cells.value(column)
        n = int(cells.count[has_label].sum())
        name = LabelColumn.parse(column).short_name
        if n == 0:
            dropped.append(Dropped(name, "the label is never true"))
        elif n < options.min_rows:
            dropped.append(Dropped(name, f"too few rows ({n}; min_rows is {options.min_rows})"))
        elif options.preserve == "labels" and (few := _one_sided(cells, has_label, contrasts, options.min_rows)):
            dropped.append(Dropped(name, few))
        else:
            usable.append(column)
    return tuple(usable), dropped


def _one_sided(cells: Cells, has_label: np.ndarray, contrasts: Sequence[Contrast], min_rows: int) -> str:
    """A side of a contrast that too few rows with the label show, in words; '' if there is none."""
    for contrast in contrasts:
        for side, name in ((contrast.inside, contrast.name), (contrast.outside, contrast.outside_name)):
            n = int(cells.count[side & has_label].sum())
            if n < min_rows and (contrast.covered & has_label).any():
                return f"{n} rows with the label show {name}"
    return ""


def bias_of_cells(contrasts: Sequence[Contrast], labels, weight: np.ndarray) -> Bias:
    """Bias of cells with total weights ``weight``, shape (n_cells,); ``labels`` has shape (n_cells, n_labels)."""
    return bias_of_masses(*masses(contrasts, labels, weight), np.array([c.target for c in contrasts]))
