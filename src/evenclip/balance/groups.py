"""What is balanced: the contrasts (a group against others), the labels, and the bias between them.

A contrast is the group ``inside``, what it is compared with, ``outside``, and the target share pi of ``inside`` among
both. One-hot coding compares a group with all other rows; signed coding compares the two groups of a pair among the
rows that show exactly one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evenclip.balance.table.cells import Cells
from evenclip.balance.table.columns import short_name
from evenclip.errors import InputError


@dataclass(frozen=True)
class Contrast:
    """A group and what it is compared with; masks over cells.

    Attributes
    ----------
    name : str
        Name of the group, e.g. ``gender.woman``.
    inside, outside : numpy.ndarray, shape (n_cells,), bool
        Disjoint; cells in neither (unknown, or no or both groups of a pair) carry no moment.
    target : float
        Target share of ``inside`` among ``inside`` and ``outside``, in (0, 1).
    coding : str
        ``one_hot`` or ``signed``.
    """

    name: str
    inside: np.ndarray
    outside: np.ndarray
    target: float
    coding: str

    @property
    def signal(self) -> np.ndarray:
        """Shape (n_cells,): s - pi inside and outside, 0 elsewhere."""
        return self.inside * (1.0 - self.target) - self.outside * self.target


def contrasts(cells: Cells, coding: str, target: Mapping[str, float]) -> list[Contrast]:
    """The contrasts of all attributes.

    Parameters
    ----------
    cells : Cells
    coding : {"auto", "one_hot", "signed"}
    target : mapping of group or attribute name to share
        Without one, a pair gets 1/2, a lone group 1/2, and each of V groups 1/V of the share of rows with any group.

    Raises
    ------
    InputError
        For an unknown name in ``target``, a group that is constant, or signed coding without a pair.
    """
    attributes = cells.columns.attributes()
    _check_target_names(attributes, target)
    found: list[Contrast] = []
    for attribute, columns in attributes.items():
        if coding == "signed" and len(columns) != 2:
            raise InputError(
                f"attribute '{attribute}' has {len(columns)} groups; signed coding needs two",
                "attribute_coding",
                "use one_hot or auto",
            )
        signed = coding == "signed" or (coding == "auto" and len(columns) == 2)
        found += _pair(cells, attribute, columns, target) if signed else _one_hot(cells, attribute, columns, target)
    return found


def _pair(cells: Cells, attribute: str, columns: list[str], target: Mapping[str, float]) -> list[Contrast]:
    first, second = (cells.value(column) for column in columns)
    known = cells.known(columns[0]) & cells.known(columns[1])
    names = [short_name(column) for column in columns]
    share = target.get(names[0], 1 - target[names[1]] if names[1] in target else target.get(attribute, 0.5))
    both_given = names[0] in target and names[1] in target
    if (both_given and abs(target[names[0]] + target[names[1]] - 1) > 1e-9) or (attribute in target and share != 0.5):
        raise InputError(
            f"the two groups of '{attribute}' must share 1", "target", f"give one of them, e.g. {names[0]}=0.5"
        )
    return [Contrast(names[0], known & first & ~second, known & second & ~first, share, "signed")]


def _one_hot(cells: Cells, attribute: str, columns: list[str], target: Mapping[str, float]) -> list[Contrast]:
    values = [cells.value(column) for column in columns]
    known = [cells.known(column) for column in columns]
    default = target.get(attribute)
    if default is None and len(columns) == 1:
        default = 0.5
    elif default is None:
        any_known = np.logical_or.reduce(known)
        covered = np.logical_or.reduce(values)
        default = _share(cells.count, covered, any_known) / len(columns)
    return [
        Contrast(name, value, mask & ~value, target.get(name, default), "one_hot")
        for name, value, mask in zip(map(short_name, columns), values, known, strict=True)
    ]


def check_contrasts(cells: Cells, found: list[Contrast], where: str) -> None:
    """Raise `InputError` where balancing has no meaning: too few rows, a constant group, a label that never occurs."""
    if cells.n < len(cells.columns.sensitive):
        raise InputError(f"{cells.n} rows are fewer than the {len(cells.columns.sensitive)} groups", where, "add rows")
    for column in cells.columns.sensitive:
        if not cells.known(column).any():
            raise InputError("every value is null", f"{where}, column {column}", "drop the column, or fill it")
    for contrast in found:
        for mask, kind in ((contrast.inside, "in"), (contrast.outside, "outside")):
            if not mask.any():
                raise InputError(
                    f"no row is {kind} group '{contrast.name}': the attribute is constant", where, "drop its column(s)"
                )
    for column in cells.columns.target:
        if not cells.value(column).any():
            raise InputError("the label is never true", f"{where}, column {column}", "drop the column")


@dataclass(frozen=True)
class Bias:
    """Representation and association bias under weights.

    Attributes
    ----------
    share : numpy.ndarray, shape (n_contrasts,)
        Weighted share of each group; NaN where its contrast has no weight.
    association : numpy.ndarray, shape (n_contrasts, n_labels)
        Share of rows with the label inside the group minus outside; NaN where either side has no weight.
    rb, ab : float
        max |pi - share| and max |association|, NaN ignored (0 if nothing is measurable).
    """

    share: np.ndarray
    association: np.ndarray
    rb: float
    ab: float


def bias(found: list[Contrast], labels: np.ndarray, weight: np.ndarray) -> Bias:
    """Bias (paper: M4, section 2) of cells with total weights.

    Parameters
    ----------
    found : list of Contrast
    labels : numpy.ndarray or sparse matrix, shape (n_cells, n_labels)
    weight : numpy.ndarray, shape (n_cells,)
        Total weight of each cell's rows.
    """
    masks = np.array([side for contrast in found for side in (contrast.inside, contrast.outside)], float)
    totals = masks @ weight
    with_label = np.asarray((labels.T @ (masks * weight).T).T)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = totals[0::2] / (totals[0::2] + totals[1::2])
        rate = with_label / totals[:, None]
    association = rate[0::2] - rate[1::2]
    deviation = np.abs(share - [contrast.target for contrast in found])
    return Bias(share, association, _largest(deviation), _largest(np.abs(association)))


def _largest(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def _share(count: np.ndarray, mask: np.ndarray, among: np.ndarray) -> float:
    return float(count[mask & among].sum() / max(count[among].sum(), 1))


def _check_target_names(attributes: Mapping[str, list[str]], target: Mapping[str, float]) -> None:
    known = [*attributes, *(short_name(column) for columns in attributes.values() for column in columns)]
    for name in target:
        if name not in known:
            raise InputError(f"unknown group '{name}'", "target", f"known names: {', '.join(known)}")
