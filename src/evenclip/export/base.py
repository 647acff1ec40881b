"""Weights as every consumer needs them: read, checked, and brought into the order of a data set."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.errors import InputError
from evenclip.tables import check_weights, read_table

if TYPE_CHECKING:
    from torch.utils.data import WeightedRandomSampler


def read_weights(weights: Any) -> pa.Table:
    """Columns `key` (string), `weight` (float64) and `copies` (int64) of weights.parquet, or of its content.

    Raises
    ------
    InputError
        A column is missing or wrong.
    """
    is_path = isinstance(weights, str | os.PathLike)
    where = str(weights) if is_path else "the weights"
    table = check_weights(read_table(weights) if is_path else pa.table(weights), where)
    if "copies" not in table.column_names:
        raise InputError("column copies is missing", where, "write it with `evenclip balance`")
    return table


def in_order_of(weights: Any, keys: Sequence[str], column: str) -> np.ndarray:
    """Shape (len(keys),): the ``column`` of weights.parquet, or of its content, for each key of a data set.

    Raises
    ------
    InputError
        A key has no weight, or a weight has no key.
    """
    table = read_weights(weights)
    wanted = pa.array(keys, pa.string())
    rows = pc.index_in(wanted, value_set=table.column("key").combine_chunks())
    if rows.null_count:
        missing = wanted.filter(pc.is_null(rows))[0].as_py()
        raise InputError(f"the key '{missing}' has no weight", "the weights", "weigh the same pairs")
    if len(keys) != len(table):
        what = f"there are {len(table)} weights, but {len(keys)} pairs"
        raise InputError(what, "the weights", "weigh the same pairs")
    return table.column(column).take(rows).to_numpy()


def sampler(weights: Any, keys: Sequence[str]) -> "WeightedRandomSampler":
    """A PyTorch sampler that draws pairs with probability proportional to their weights, with replacement.

    Parameters
    ----------
    weights : path or table
        weights.parquet of `evenclip balance`.
    keys : sequence of str
        Key of each item of the data set, in its order.

    Returns
    -------
    torch.utils.data.WeightedRandomSampler
        Of as many draws as there are items. Needs torch.
    """
    from torch.utils.data import WeightedRandomSampler

    return WeightedRandomSampler(in_order_of(weights, keys, "weight").tolist(), len(keys), replacement=True)


def copies_of(weights: Any, keys: Sequence[str]) -> np.ndarray:
    """Positions of the pairs of one epoch, each as often as its copies; shape (sum of copies,), int64, ascending.

    Parameters are those of `sampler`. Any sampler may shuffle them, e.g. torch's ``SubsetRandomSampler``.
    """
    copies = in_order_of(weights, keys, "copies")
    return np.repeat(np.arange(len(copies)), copies)
