"""The grammar of a labels table's columns: ``[image.|text.](sensitive|target|proxy).<name>``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from evenclip.errors import InputError

ROLES = ("sensitive", "target", "proxy")
"""Roles of label columns: a perceived group, what must not go with a group, a further variable that goes with it."""

NOBODY, ABSTAINS = "nobody", "abstains"
"""How a calibration set says that no group is shown, and that the classifier gave no answer."""

_LABEL_COLUMN = re.compile(rf"(?:(?P<side>image|text)\.)?(?P<role>{'|'.join(ROLES)})\.(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True)
class LabelColumn:
    """A column of a labels table: ``[image.|text.](sensitive|target|proxy).<name>``.

    Attributes
    ----------
    side : {"", "image", "text"}
        Which side of a pair the label was read from, where that is kept apart.
    role : {"sensitive", "target", "proxy"}
    name : str
        ``<attribute>.<value>`` of a perceived group, else the name of the label.

    Examples
    --------
    >>> column = LabelColumn.parse("image.sensitive.gender.woman")
    >>> column.short_name, column.attribute, column.value
    ('image.gender.woman', 'image.gender', 'woman')
    >>> LabelColumn.parse("utility") is None
    True
    """

    side: str
    role: str
    name: str

    @classmethod
    def parse(cls, column: str) -> Self | None:
        """Read a column's name; None for a column that holds no labels."""
        match = _LABEL_COLUMN.fullmatch(column)
        return cls(match["side"] or "", match["role"], match["name"]) if match else None

    @property
    def column(self) -> str:
        """The column's full name."""
        return ".".join(part for part in (self.side, self.role, self.name) if part)

    @property
    def short_name(self) -> str:
        """The name in targets and reports: without the role."""
        return f"{self.side}.{self.name}" if self.side else self.name

    @property
    def attribute(self) -> str:
        """Short name of the attribute that a group belongs to; '' for a label without a dot in its name."""
        return self.short_name.rpartition(".")[0]

    @property
    def value(self) -> str:
        """The group's value of its attribute."""
        return self.name.rpartition(".")[2]


def label_columns(names: Iterable[str], *roles: str) -> list[LabelColumn]:
    """Label columns among ``names``, of the given roles (default: all), ordered by role and then as in ``names``."""
    columns = [column for column in map(LabelColumn.parse, names) if column]
    return [column for role in roles or ROLES for column in columns if column.role == role]


def check_spellings(values: Iterable[str], where: str) -> None:
    """`InputError` if two names of groups differ in capital letters or surrounding spaces alone."""
    spellings: dict[str, str] = {}
    for value in sorted(values):
        if (other := spellings.setdefault(value.strip().casefold(), value)) != value:
            raise InputError(f"{other!r} and {value!r} are two spellings of one group", where, "write one of them")
