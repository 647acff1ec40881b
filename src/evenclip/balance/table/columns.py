"""Which columns of a labels table are groups, labels, proxies and utility, and whether they can be read.

A labels table has `sensitive.<attribute>.<value>` (bool or null), `target.<label>` and `proxy.<name>` (bool), each
optionally prefixed with `image.` or `text.`, and optionally `utility` (float in [0, 1]); see docs/balance.md.
"""

import re
from dataclasses import dataclass

import pyarrow as pa

from evenclip.errors import InputError

_COLUMN = re.compile(r"(?:(?P<side>image|text)\.)?(?P<role>sensitive|target|proxy)\.(?P<name>.+)")


@dataclass(frozen=True)
class Columns:
    """The roles of a labels table's columns, each in sorted order, so that their order in the file is irrelevant.

    Attributes
    ----------
    sensitive, target, proxy : tuple of str
        Column names.
    utility : bool
        Whether the table has a `utility` column.
    """

    sensitive: tuple[str, ...]
    target: tuple[str, ...]
    proxy: tuple[str, ...]
    utility: bool

    @classmethod
    def of(cls, schema: pa.Schema, where: str) -> "Columns":
        """Read the roles off a schema; `InputError` for missing columns and wrong types."""
        if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise InputError(f"column {twice[0]} is there more than once", where, "give each column its own name")
        roles: dict[str, list[str]] = {"sensitive": [], "target": [], "proxy": []}
        for field in schema:
            if match := _COLUMN.fullmatch(field.name):
                _check_column(field, match, where)
                roles[match["role"]].append(field.name)
        for role, example in (("sensitive", "sensitive.gender.woman"), ("target", "target.nurse")):
            if not roles[role]:
                raise InputError(f"no column {role}.* ", where, f"name boolean columns like {example}")
        utility = "utility" in schema.names
        if utility and not pa.types.is_floating(schema.field("utility").type):
            kind = schema.field("utility").type
            raise InputError(f"utility has type {kind}", f"{where}, column utility", "write floats in [0, 1]")
        return cls(*(tuple(sorted(names)) for names in roles.values()), utility)

    @property
    def boolean(self) -> tuple[str, ...]:
        """All boolean columns, in the order of a cell's bits."""
        return self.sensitive + self.target + self.proxy

    @property
    def all(self) -> tuple[str, ...]:
        """All columns that a cell is made of."""
        return self.boolean + (("utility",) if self.utility else ())

    def attributes(self) -> dict[str, list[str]]:
        """Columns of each attribute, e.g. ``{"gender": ["sensitive.gender.man", "sensitive.gender.woman"]}``."""
        groups: dict[str, list[str]] = {}
        for column in self.sensitive:
            groups.setdefault(short_name(column).rpartition(".")[0], []).append(column)
        return groups


def short_name(column: str) -> str:
    """``image.sensitive.gender.woman`` -> ``image.gender.woman``: the name used in targets and reports."""
    match = _COLUMN.fullmatch(column)
    return f"{match['side']}.{match['name']}" if match["side"] else match["name"]


def _check_column(field: pa.Field, match: re.Match, where: str) -> None:
    place = f"{where}, column {field.name}"
    if pa.types.is_null(field.type):
        raise InputError("every value is null", place, "drop the column, or fill it with true and false")
    if not pa.types.is_boolean(field.type):
        raise InputError(f"type is {field.type}, not bool", place, "write true and false")
    if match["role"] == "sensitive" and match["name"].count(".") != 1:
        raise InputError("an attribute needs a value", place, "name it sensitive.<attribute>.<value>")
