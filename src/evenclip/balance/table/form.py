"""Which columns of a table hold keys, groups and labels: the wide form of a labels table, or a tidy one.

In the wide form a column is named after its role (`sensitive.gender.woman`, `target.nurse`). In the tidy form a column
of group names (`gender`) and columns of labels (`nurse`) are named beside the table. Both may be mixed.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from evenclip.errors import InputError
from evenclip.label_columns import ROLES, LabelColumn, check_spellings
from evenclip.tables import as_flags, as_keys

MOST_GROUPS = 100
"""A column with more distinct values than this is not accepted as a column of group names."""


@dataclass(frozen=True)
class TableForm:
    """Columns of a table that are not named as in a labels table.

    Attributes
    ----------
    attributes : tuple of str
        Columns of group names. Column `gender` with the values woman and man gives the groups `gender.woman` and
        `gender.man`; a missing value means that the group is not known.
    labels : tuple of str
        Columns of true and false.
    key : str, optional
        Column that names the rows. Default: `key`; without such a column, rows are named by their number.
    """

    attributes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    key: str | None = None

    @property
    def text_columns(self) -> set[str]:
        """Columns that are text even where their values look like numbers."""
        return {*self.attributes, self.key or "key"}


class WideColumns:
    """The columns of a labels table, made from a table of any `TableForm`.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the table.
    form : TableForm
    values : callable
        Returns all arrays of a column, file by file, in which the groups are found.
    where : str
        Name of the table, for errors.

    Raises
    ------
    InputError
        A column of the form is missing, or a column of group names has no or too many values.
    """

    def __init__(
        self, schema: pa.Schema, form: TableForm, values: Callable[[str], Iterable[pa.Array]], where: str
    ) -> None:
        self._where = where
        names = schema.names
        for option, columns in (("--attribute", form.attributes), ("--label", form.labels)):
            for column in columns:
                _check_named(column, names, f"{where}, {option}")
        if form.key is not None:
            _check_named(form.key, names, f"{where}, --key")
        self._key = form.key or ("key" if "key" in names else None)
        if self._key is None and (near := _nearest("key", names)):
            raise InputError(f"column {near} looks like column key", where, f"rename it, or say --key {near}")
        self._groups = {  # column of the labels table -> the column it is made from, and the value that counts as true
            f"sensitive.{column}.{value}": (column, value)
            for column in form.attributes
            for value in _group_names(column, values(column), where)
        }
        self._labels = {f"target.{column}": column for column in form.labels}
        self._kept = [name for name in names if LabelColumn.parse(name) or name == "utility"]
        self.names = ["key", *self._groups, *self._labels, *self._kept]

    def sources(self, columns: Iterable[str]) -> list[str]:
        """Columns of the table that are needed for ``columns`` of the labels table."""
        needed = dict.fromkeys(
            self._groups[name][0] if name in self._groups else self._source(name) for name in columns
        )
        return [name for name in needed if name is not None]

    def _source(self, name: str) -> str | None:
        return self._key if name == "key" else self._labels.get(name, name)

    @property
    def numbered(self) -> bool:
        """Whether rows are named by their number, since the table has no column of keys."""
        return self._key is None

    def convert(self, batch: pa.RecordBatch, columns: Sequence[str], where: str, first_row: int) -> pa.RecordBatch:
        """``columns`` of the labels table for a batch that starts at row ``first_row`` of the whole table."""
        return pa.record_batch([self._array(batch, name, where, first_row) for name in columns], names=list(columns))

    def _array(self, batch: pa.RecordBatch, name: str, where: str, first_row: int) -> pa.Array:
        if name == "key" and self._key is None:
            return pa.array(map(str, range(first_row, first_row + len(batch))), pa.string())
        if name == "key":
            return as_keys(batch.column(self._key), where)
        if name in self._groups:
            column, value = self._groups[name]
            return pc.equal(_as_names(batch.column(column), f"{where}, column {column}"), value)
        if name in self._labels:
            column = self._labels[name]
            return as_flags(batch.column(column), f"{where}, column {column}")
        return batch.column(name)


def _check_named(column: str, names: Sequence[str], where: str) -> None:
    if column not in names:
        near = _nearest(column, names)
        instead = f"did you mean {near}?" if near else f"the table has: {', '.join(names)}"
        raise InputError(f"there is no column {column}", where, instead)
    if LabelColumn.parse(column):
        raise InputError(f"{column} is already a column of a labels table", where, "leave this option out")


def _nearest(name: str, names: Sequence[str]) -> str | None:
    folded = {candidate.strip().casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.75)
    return folded[close[0]] if close else None


def _group_names(column: str, arrays: Iterable[pa.Array], where: str) -> list[str]:
    """Distinct values of a column of group names, in alphabetical order."""
    location = f"{where}, column {column}"
    if "." in column:
        raise InputError("the name of an attribute cannot have a dot", location, "rename the column")
    values: set[str] = set()
    for array in arrays:
        values.update(pc.unique(_as_names(array, location)).drop_null().to_pylist())
        if len(values) > MOST_GROUPS:
            what = f"it has more than {MOST_GROUPS} different values"
            raise InputError(what, location, "name a column of groups, or bin its values first")
    if not values:
        raise InputError("it has no value", location, "fill it in, or leave it out")
    if dotted := [value for value in sorted(values) if "." in value]:
        raise InputError(f"the group {dotted[0]!r} has a dot in its name", location, "rename the group")
    check_spellings(values, location)
    return sorted(values)


def _as_names(values: pa.Array, where: str) -> pa.Array:
    """Group names without spaces around them; null where there is none."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
        raise InputError(f"type is {values.type}, not text", where, "write names of groups")
    names = pc.utf8_trim_whitespace(values.cast(pa.string()))
    return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names)


_PREFIX = re.compile(r"\W*(?P<word>[^\W_]+)[\W_]")


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse columns that look like label columns but are not, such as `Target.nurse` and `sensitve.gender.woman`.

    Raises
    ------
    InputError
        It names the column and the name that was probably meant.
    """
    for name in names:
        if name == "utility" or LabelColumn.parse(name):
            if name != name.strip():
                raise InputError(f"column {name!r} begins or ends with a space", where, f"call it {name.strip()}")
            continue
        if near := _meant(name):
            instead = f"did you mean {near}? Otherwise rename the column, so that it cannot be mistaken"
            raise InputError(f"column {name} looks like a label column, but is not one", where, instead)


def _meant(name: str) -> str | None:
    """The label column or `utility` that a name is close to; None if it is close to none."""
    if difflib.SequenceMatcher(None, name.strip().casefold(), "utility").ratio() >= 0.85:
        return "utility"
    corrected = "".join(_corrected_prefixes(name))
    return corrected if corrected != name and LabelColumn.parse(corrected) else None


def _corrected_prefixes(name: str) -> Iterator[str]:
    """``name`` with a dot after its side and role, with both spelt correctly."""
    for words in (("image", "text"), ROLES):
        match = _PREFIX.match(name)
        close = difflib.get_close_matches(match["word"].casefold(), words, n=1, cutoff=0.8) if match else []
        if close:
            yield f"{close[0]}."
            name = name[match.end() :]
    yield re.sub(r"[\s:/]+", ".", name.strip())
