"""The contrasts that balancing removes the bias of: groups and labels of a labels table, counted as cells."""

from collections.abc import Mapping, Sequence

import numpy as np

from evenclip.balance.table.cells import Cells
from evenclip.bias import Bias, Contrast, Group, bias_of_masses, make_contrasts, masses
from evenclip.errors import InputError
from evenclip.tables import LabelColumn


def contrasts_of(cells: Cells, coding: str, target: Mapping[str, float]) -> list[Contrast]:
    """Contrasts of all attributes of a labels table; see `evenclip.bias.make_contrasts`.

    Raises
    ------
    InputError
        ``target`` names an unknown group or contradicts itself, or signed coding meets an attribute without two groups.
    """
    columns = [LabelColumn.parse(column) for column in cells.columns.sensitive]
    groups = [Group(c.attribute, c.short_name, cells.value(c.column), cells.known(c.column)) for c in columns]
    return make_contrasts(groups, coding, target, cells.count)


def check_contrasts(cells: Cells, contrasts: Sequence[Contrast], where: str) -> None:
    """Raise `InputError` where balancing has no meaning: too few rows, a constant group, a label that never occurs."""
    if cells.n < len(cells.columns.sensitive):
        raise InputError(f"{cells.n} rows are fewer than the {len(cells.columns.sensitive)} groups", where, "add rows")
    for column in cells.columns.sensitive:
        if not cells.known(column).any():
            raise InputError("every value is null", f"{where}, column {column}", "drop the column, or fill it")
    for contrast in contrasts:
        for mask, side in ((contrast.inside, "in"), (contrast.outside, "outside")):
            if not mask.any():
                what = f"no row is {side} group '{contrast.name}': the attribute is constant"
                raise InputError(what, where, "drop its column(s)")
    for column in cells.columns.target:
        if not cells.value(column).any():
            raise InputError("the label is never true", f"{where}, column {column}", "drop the column")


def bias_of_cells(contrasts: Sequence[Contrast], labels, weight: np.ndarray) -> Bias:
    """Bias of cells with total weights ``weight``, shape (n_cells,); ``labels`` has shape (n_cells, n_labels)."""
    return bias_of_masses(*masses(contrasts, labels, weight), np.array([c.target for c in contrasts]))
