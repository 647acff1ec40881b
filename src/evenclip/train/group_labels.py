"""Perceived groups and labels of the training pairs, and the bias of the pairs that a training shows.

Reads a labels table (`evenclip label`) and, beside the weights, the manifest.json of `evenclip balance`: the contrasts
are those of the strategy that made the weights, so that the bias of a training can be compared with its certificate.
Representation bias (RB) and association bias (AB) are those of `evenclip.bias`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.bias import Bias, Contrast, Group, bias_of_masses, make_contrasts, masses
from evenclip.errors import InputError
from evenclip.label_columns import label_columns
from evenclip.tables import read_labels, read_table
from evenclip.train.batches import Batch, Batches, Embed


@dataclass(frozen=True)
class GroupLabels:
    """Contrasts of perceived groups, and labels, of n pairs.

    Attributes
    ----------
    contrasts : tuple of K Contrast
        Over the n pairs.
    labels : numpy.ndarray, shape (n, R), bool
    """

    contrasts: tuple[Contrast, ...]
    labels: np.ndarray

    @cached_property
    def inside(self) -> np.ndarray:
        """Shape (n, K), bool: which pairs show the group of each contrast."""
        return np.column_stack([contrast.inside for contrast in self.contrasts])

    @cached_property
    def outside(self) -> np.ndarray:
        """Shape (n, K), bool: which pairs each group is compared with."""
        return np.column_stack([contrast.outside for contrast in self.contrasts])

    @cached_property
    def target(self) -> np.ndarray:
        """Shape (K,): target share of each group."""
        return np.array([contrast.target for contrast in self.contrasts])

    def masses(self, rows: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Mass of ``rows`` inside and outside, in all and with each label: shape (2, K, 1 + R).

        ``weight`` has shape (n_rows,); default 1 each.
        """
        contrasts = [contrast.at(rows) for contrast in self.contrasts]
        weight = np.ones(len(rows)) if weight is None else weight
        return np.stack(masses(contrasts, self.labels[rows].astype(float), weight))

    def bias(self, mass: np.ndarray) -> Bias:
        """Bias of masses as `masses` returns them."""
        return bias_of_masses(*mass, self.target)


def read_group_labels(path: Path, keys: np.ndarray, weights: Path | None = None) -> GroupLabels:
    """Read the groups and labels of the pairs ``keys``, in this order.

    Parameters
    ----------
    path : Path
        Labels table.
    keys : numpy.ndarray, shape (n,), str
    weights : Path, optional
        `weights.parquet` that the training reads. The contrasts are those of its strategy, as the manifest.json beside
        it says; without one those of balancing's default options.

    Raises
    ------
    InputError
        The table has no group or no label, or lacks a key; or the weights are not those of the table's rows.
    """
    table = read_labels(path)
    rows = pc.index_in(pa.array(keys, pa.string()), value_set=table["key"].combine_chunks())
    if rows.null_count:
        missing = keys[rows.is_null().to_numpy(zero_copy_only=False)][0]
        raise InputError(f"the key '{missing}' has no labels", str(path), "label the data that is trained on")
    sensitive, target = (
        sorted(label_columns(table.column_names, role), key=lambda label: label.column)
        for role in ("sensitive", "target")
    )
    for role, columns in (("sensitive", sensitive), ("target", target)):
        if not columns:
            raise InputError(f"no column {role}.*", str(path), "write it with `evenclip label`")
    if weights is not None:
        _check_same_keys(table["key"], weights, path)
    groups = [
        Group(c.attribute, c.short_name, _flags(table, c.column), table[c.column].is_valid().to_numpy())
        for c in sensitive
    ]
    contrasts = make_contrasts(groups, **strategy_contrasts(weights))
    numbers = rows.to_numpy()
    labels = np.column_stack([_flags(table, column.column) for column in target])[numbers]
    return GroupLabels(tuple(contrast.at(numbers) for contrast in contrasts), labels)


def strategy_contrasts(weights: Path | None) -> dict[str, Any]:
    """`coding` and `target` of the strategy that made ``weights``, from the manifest.json beside them; {} without one.

    They are arguments of `evenclip.bias.make_contrasts`.
    """
    path = None if weights is None else Path(weights).with_name("manifest.json")
    if path is None or not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["stage"] != "balance":
            return {}
        return {"coding": manifest["options"]["attribute_coding"], "target": manifest["options"]["target"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"not a manifest of `evenclip balance` ({error!r})", str(path), "balance again") from None


def _check_same_keys(keys: pa.ChunkedArray, weights: Path, labels: Path) -> None:
    weighed = read_table(weights, ["key"])["key"].cast(pa.string())
    for wanted, given, what in (
        (keys, weighed, f"the key '{{}}' of {labels} has no weight"),
        (weighed, keys, f"the key '{{}}' is not in {labels}"),
    ):
        absent = pc.invert(pc.is_in(wanted, value_set=given.combine_chunks()))
        if pc.any(absent).as_py():
            raise InputError(what.format(wanted.filter(absent)[0]), str(weights), "balance these labels")


class BiasLoggingBatches(Batches):
    """Batches that log the bias of the pairs shown, `realised_rb` and `realised_ab`, averaged over about one epoch.

    Batches that are drawn in another way, such as SimCLIP's, can undo a part of what balanced weights achieve.

    Parameters
    ----------
    batches : Batches
    group_labels : GroupLabels
    """

    def __init__(self, batches: Batches, group_labels: GroupLabels):
        self._batches, self._group_labels = batches, group_labels
        self.steps_per_epoch = batches.steps_per_epoch
        self._masses = 0 * group_labels.masses(np.arange(0))

    def epoch(self, step: int) -> int:
        """The epoch of ``step``."""
        return self._batches.epoch(step)

    def at(self, step: int) -> Batch:
        """The batch of ``step``."""
        return self._batches.at(step)

    def prepare(self, step: int, embed: Embed) -> None:
        """Prepare the batches."""
        self._batches.prepare(step, embed)

    def known_until(self, step: int) -> float:
        """As the batches say."""
        return self._batches.known_until(step)

    def logged(self, batches: Sequence[Batch]) -> dict[str, float]:
        """The scalars of the batches, and the bias so far, in which older batches weigh less."""
        memory = 1 - 1 / self.steps_per_epoch
        for batch in batches:
            self._masses = memory * self._masses + self._group_labels.masses(batch.rows)
        bias = self._group_labels.bias(self._masses)
        return self._batches.logged(batches) | {"realised_rb": float(bias.rb), "realised_ab": float(bias.ab)}

    def state(self) -> dict[str, Any]:
        """The state of the batches, and the masses shown so far."""
        return {"batches": self._batches.state(), "masses": torch.from_numpy(self._masses)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self._batches.restore(state["batches"])
        self._masses = state["masses"].numpy()


def _flags(table: pa.Table, column: str) -> np.ndarray:
    return pc.fill_null(table[column], False).to_numpy()
