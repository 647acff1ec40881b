"""Which columns of a labels table are groups, labels, proxies and utility, and whether they can be read.

A labels table has `sensitive.<attribute>.<value>` (bool or null), `target.<label>` and `proxy.<name>` (bool), each
optionally prefixed with `image.` or `text.`, and optionally `utility` (float in [0, 1]); see docs/balance.md.
"""

from dataclasses import dataclass

import pyarrow as pa

from evenclip.errors import InputError
from evenclip.tables import ROLES, label_columns


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
        """Read the roles off a schema; `InputError` for missing or doubled columns."""
        if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise InputError(f"column {twice[0]} is there more than once", where, "give each column its own name")
        for role, example in (("sensitive", "sensitive.gender.woman"), ("target", "target.nurse")):
            if not label_columns(schema.names, role):
                raise InputError(f"no column {role}.* ", where, f"name columns of true and false like {example}")
        for column in label_columns(schema.names, "sensitive"):
            if column.name.count(".") != 1:
                where = f"{where}, column {column.column}"
                raise InputError("an attribute needs a value", where, "name it sensitive.<attribute>.<value>")
        roles = (sorted(column.column for column in label_columns(schema.names, role)) for role in ROLES)
        return cls(*map(tuple, roles), "utility" in schema.names)

    @property
    def boolean(self) -> tuple[str, ...]:
        """All boolean columns, in the order of a cell's bits."""
        return self.sensitive + self.target + self.proxy

    @property
    def all(self) -> tuple[str, ...]:
        """All columns that a cell is made of."""
        return self.boolean + (("utility",) if self.utility else ())
