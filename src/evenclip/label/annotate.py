"""What captions name as columns of the data: a labelled set on which a model's bias can be measured.

Reads a data folder and a lexicon; writes another data folder with the same pairs and the columns

- of each perceived attribute, e.g. `gender`: the value that the captions name, '' if they name none or several;
- `label`: the target that they name, '' if none or several;
- `balance`: weights under which groups and targets are independent (`evenclip balance`), for
  `association: {weights: balance}`.

Command: `evenclip data annotate`.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evenclip.balance.estimator import M4Balancer
from evenclip.balance.options import BalanceOptions
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.label.from_captions import label_captions
from evenclip.label.lexicon import read_lexicon
from evenclip.label.matching import Matcher
from evenclip.label.quality import captions_of
from evenclip.label_columns import LabelColumn, label_columns
from evenclip.provenance import Manifest

LABEL, BALANCE = "label", "balance"
"""Columns of the named target and of the weights."""


def annotate_dataset(
    data: str | os.PathLike, lexicon: str | os.PathLike, out: str | os.PathLike, options: BalanceOptions
) -> dict[str, Any]:
    """Write the pairs of ``data`` to ``out`` with the columns that the captions name, and balancing weights.

    Parameters
    ----------
    data : path
        Data folder.
    lexicon : path
        Lexicon file.
    out : path
        Data folder; replaced as a whole.
    options : BalanceOptions
        How the weights are found.

    Returns
    -------
    dict
        The report of the balancing.

    Raises
    ------
    InputError
        An input cannot be read, the data has one of the columns already, or cannot be balanced.
    """
    inputs = {"data": data, "lexicon": lexicon}
    manifest = Manifest("data", {"made_by": "annotate", **options.model_dump(mode="json")}, inputs)
    pairs = read_pairs(data)
    matcher = Matcher(read_lexicon(lexicon))
    labels, _ = label_captions(captions_of(pairs), matcher, "any")
    named = _columns(labels, matcher.columns)
    if taken := set(named) & {*pairs.column_names} | {BALANCE} & {*pairs.column_names}:
        raise InputError(f"it has a column '{min(taken)}'", str(data), "rename it in the data or in the lexicon")
    table = pa.table({"key": pairs["key"]} | {name: labels[:, i] for i, name in enumerate(matcher.columns)})
    balancer = M4Balancer(**options.model_dump(exclude_defaults=True)).fit(table)
    named[BALANCE] = [f"{weight:.6g}" for weight in balancer.weight_]
    columns = [name for name in pairs.column_names if name not in ("key", "caption")]
    with write_shards(Path(out), manifest) as writer:
        rows = pairs.select(columns).to_pylist()
        for index, ((key, image), row) in enumerate(zip(iterate_images(data), rows, strict=True)):
            sizes = {name: row.pop(name) for name in ("width", "height", "sha256")}
            captions = row.pop("captions")
            writer.add(key, image, captions, row | {name: values[index] for name, values in named.items()}, **sizes)
    return balancer.report_


def _columns(labels: np.ndarray, names: list[str]) -> dict[str, list[str]]:
    """The one value of each attribute, and the one target, that each pair names."""
    values: dict[str, list[LabelColumn]] = {}
    for column in label_columns(names, "sensitive", "target"):
        values.setdefault(column.attribute if column.role == "sensitive" else LABEL, []).append(column)
    return {
        name: _only(labels[:, [names.index(column.column) for column in members]], [column.value for column in members])
        for name, members in values.items()
    }


def _only(labels: np.ndarray, names: list[str]) -> list[str]:
    """The name of the only label of each row, '' where there is none or several."""
    is_one = labels.sum(axis=1) == 1
    return [names[k] if is_single else "" for k, is_single in zip(labels.argmax(axis=1), is_one, strict=True)]
