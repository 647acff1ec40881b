"""Labels that are wrong on purpose: some of the sensitive attributes (label noise), or all of them (shuffled)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.label.options import LabelOptions
from evenclip.label_columns import label_columns


def with_noise(columns: Mapping[str, Any], shards: list[dict[str, Any]], options: LabelOptions) -> dict[str, Any]:
    """Label columns with ``options.flip_share`` of each attribute's labels wrong; nulls stay.

    Text and image sides get separate noise. It is drawn shard by shard, so that it does not depend on the number of
    parts in which a data folder is labelled.
    """
    attributes: dict[str, list[str]] = {}
    for label in label_columns(columns, "sensitive"):
        attributes.setdefault(label.attribute, []).append(label.column)
    ends = np.cumsum([shard["n"] for shard in shards])
    noisy = dict(columns)
    for number, names in enumerate(attributes.values()):
        arrays = [pa.array(columns[name]) for name in names]
        is_labelled = arrays[0].is_valid().to_numpy(zero_copy_only=False)
        labels = np.column_stack([pc.fill_null(array, False).to_numpy(zero_copy_only=False) for array in arrays])
        for shard, end in zip(shards, ends, strict=True):
            rows = slice(end - shard["n"], end)
            rng = np.random.default_rng([options.seed, number, int(shard["name"])])
            labels[rows] = flip(labels[rows], options.flip_share, rng)
        noisy |= {name: pa.array(labels[:, k], mask=~is_labelled) for k, name in enumerate(names)}
    return noisy


def shuffled(columns: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Label columns in which each pair has all labels of another pair, drawn at random (a permutation)."""
    arrays = {name: pa.array(values) for name, values in columns.items()}
    n = len(next(iter(arrays.values())))
    order = pa.array(np.random.default_rng([seed, n]).permutation(n))
    return {name: array.take(order) for name, array in arrays.items()}


def flip(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Give a share of the rows with exactly one value another value.

    Parameters
    ----------
    labels : ndarray of bool, shape (n, k)
        The k values of one attribute.
    share : float
        In [0, 1], of these rows; the number is rounded, and the rows are drawn without replacement.
    rng : Generator

    Returns
    -------
    ndarray of bool, shape (n, k)
        A copy; the new value is drawn uniformly from the k - 1 others. Unchanged if k = 1.
    """
    flipped = labels.copy()
    n_values = labels.shape[1]
    if n_values < 2:
        return flipped
    single = np.flatnonzero(labels.sum(axis=1) == 1)
    rows = rng.choice(single, size=round(share * len(single)), replace=False)
    values = (labels[rows].argmax(axis=1) + rng.integers(1, n_values, size=len(rows))) % n_values
    flipped[rows] = False
    flipped[rows, values] = True
    return flipped
