"""Groups compared by a bias metric: the values of a perceived attribute, or of an intersection of several."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.embedded import Columns, EmbeddedSet
from evenclip.evaluate.measurement import insufficient
from evenclip.tables import MetricRow


@dataclass(frozen=True)
class Groups:
    """Groups that are large enough to be compared, and the group of each image.

    ``names`` (n_groups,); ``codes`` (n,): index in ``names``, -1 = in no group; ``small``: name and size of the groups
    with too few images.
    """

    names: tuple[str, ...]
    codes: np.ndarray
    small: dict[str, int]

    @property
    def rows(self) -> np.ndarray:
        """Mask of the images that are in a group, shape (n,) bool."""
        return self.codes >= 0

    @property
    def strata(self) -> np.ndarray:
        """Group of each image in `rows`."""
        return self.codes[self.rows]

    @property
    def n(self) -> int:
        """Number of images that are in a group."""
        return int(self.rows.sum())

    @property
    def comparable(self) -> bool:
        """Whether there are at least two groups."""
        return len(self.names) > 1

    def insufficient_rows(self, metrics: Iterable[str]) -> Iterator[MetricRow]:
        """Yield an "insufficient" row for each metric and small group."""
        for metric in metrics:
            yield from (insufficient(metric, group, n) for group, n in self.small.items())


def find_groups(
    data: EmbeddedSet, column: Columns, values: list[str] | None, minimum: int, among: np.ndarray | None = None
) -> Groups:
    """Find the groups of ``column`` (an intersection if several) with at least ``minimum`` images.

    Parameters
    ----------
    data : EmbeddedSet
    column : str or list of str
    values : list of str, optional
        Groups to compare, in this order; None = all that occur, in alphabetical order.
    minimum : int
    among : ndarray of bool, shape (n,), optional
        Images to use; None = all.

    Raises
    ------
    InputError
        A named group has no image or is named twice, or there is only one group.
    """
    truth, where = data.column(column), f"{data.where}, column {column}"
    truth = truth if among is None else np.where(among, truth, "")
    present = sorted(set(truth.tolist()) - {""})
    if not present:
        raise InputError("no image has a value", where, "name another column")
    values = values or present
    absent = [value for value in values if value not in present]
    if absent:
        raise InputError(f"no image has the value '{absent[0]}'", where, f"the column has: {', '.join(present)}")
    if len(set(values)) < max(len(values), 2):
        what = "a group is named twice" if len(values) > 1 else f"there is only one group, '{values[0]}'"
        raise InputError(what, where, f"a comparison needs two; the column has: {', '.join(present)}")
    sizes = {value: int((truth == value).sum()) for value in values}
    names = tuple(value for value in values if sizes[value] >= minimum)
    codes = np.full(data.n, -1)
    for code, name in enumerate(names):
        codes[truth == name] = code
    return Groups(names, codes, {value: size for value, size in sizes.items() if size < minimum})
