"""Labels of the image side from annotated columns of the data: what a person, or the data set, says the image shows."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.errors import InputError
from evenclip.label.options import LabelOptions
from evenclip.label_columns import LabelColumn, check_spellings, label_columns
from evenclip.tables import FALSE, TRUE

MOST_VALUES = 100  # a column with more is no attribute, but a name or a caption


def with_annotations(columns: Mapping[str, Any], pairs: pa.Table, options: LabelOptions) -> dict[str, Any]:
    """Add the label columns of ``options.columns`` and ``options.target_columns``.

    Parameters
    ----------
    columns : mapping of str to array
        Label columns from captions.
    pairs : Table
        The pairs of the data folder; n rows.
    options : LabelOptions

    Returns
    -------
    dict of str to array
        With `image.sensitive.<attribute>.<value>`, null where the data has null and false where it has an empty text,
        and with `image.target.<value>`; caption labels of the same attributes, or of targets, are named `text.*`.

    Raises
    ------
    InputError
        The data has no such column, or it has more than `MOST_VALUES` values.
    """
    labelled = {text_name(name, options): values for name, values in columns.items()}
    for attribute, column in options.columns.items():
        is_known, flags = _values(pairs, column)
        labelled |= {f"image.sensitive.{attribute}.{v}": pa.array(f, mask=~is_known) for v, f in flags.items()}
    for column in options.target_columns:
        _, flags = _values(pairs, column)
        if is_flag_column(flags):
            flags = {column: np.logical_or.reduce([flag for value, flag in flags.items() if means_true(value)])}
        labelled |= {f"image.target.{value}": flag for value, flag in flags.items()}
    return labelled | (_unseen(labelled) if options.unseen else {})


def _unseen(labelled: Mapping[str, Any]) -> dict[str, Any]:
    """What captions name and images do not show, by column.

    A group is unseen if the image shows no group of its attribute; where that is not known, neither is this.
    """
    columns = label_columns(labelled)
    images = {column.column for column in columns if column.side == "image"}
    unseen: dict[str, Any] = {}
    for column in columns:
        if column.side != "text" or f"image.{column.role}.{column.name}" not in images:
            continue
        named = labelled[column.column]
        if column.role == "target":
            unseen[f"{column.column}_unseen"] = named & ~labelled[f"image.target.{column.name}"]
            continue
        attribute, _, value = column.name.rpartition(".")
        image_flags = [labelled[name] for name in images if name.startswith(f"image.sensitive.{attribute}.")]
        empty = np.logical_and.reduce(
            [~pc.fill_null(flags, False).to_numpy(zero_copy_only=False) for flags in image_flags]
        )
        is_known = pc.is_valid(image_flags[0]).to_numpy(zero_copy_only=False)
        unseen[f"text.sensitive.{attribute}_unseen.{value}"] = pa.array(named & empty, mask=~is_known)
    return unseen


def is_flag_column(values: Collection[str]) -> bool:
    """Whether the distinct ``values`` of a column are true and false, or their other spellings."""
    return any(map(means_true, values)) and {value.lower() for value in values} <= {*TRUE, *FALSE}


def means_true(value: str) -> bool:
    """Whether a text is a spelling of true."""
    return value.lower() in TRUE


def text_name(name: str, options: LabelOptions) -> str:
    """The name of a caption column, given which labels are annotated too."""
    column = LabelColumn.parse(name)
    annotated = column.role == "target" and options.target_columns
    annotated = annotated or (column.role == "sensitive" and column.name.rpartition(".")[0] in options.columns)
    return f"text.{name}" if annotated and not column.side else name


def _values(pairs: pa.Table, column: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Where the column is not null, (n,) bool, and the rows of each value that is not empty."""
    if column not in pairs.column_names:
        raise InputError(f"no column '{column}'", "option columns", f"the data has: {', '.join(pairs.column_names)}")
    if pa.types.is_nested(pairs.column(column).type):
        raise InputError(f"column '{column}' holds no single values", "option columns", "name another column")
    text = pairs.column(column).cast(pa.string())
    is_known = pc.is_valid(text).to_numpy(zero_copy_only=False)
    values = np.array(pc.fill_null(text, "").to_pylist(), dtype=object)
    names = sorted({str(value) for value in values} - {""})
    if len(names) > MOST_VALUES:
        what = f"column '{column}' has {len(names)} values"
        raise InputError(what, "option columns", f"name one with at most {MOST_VALUES}")
    check_spellings(names, f"column {column}")
    return is_known, {name.replace(".", "_"): values == name for name in names}
