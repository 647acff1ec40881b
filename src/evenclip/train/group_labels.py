"""Perceived groups and labels of the training pairs, and the bias of what a training shows of them.

Reads a labels table (`evenclip label`). Bias is that of M4 (arXiv 2403.04547), with the contrasts of `evenclip balance`
at its defaults: a pair of groups is compared among the pairs that show exactly one of them, one of several groups with
all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.errors import InputError
from evenclip.tables import check_unique_keys, read_table
from evenclip.train.batches import Batch, Batches, Embed


@dataclass(frozen=True)
class Perceived:
    """Contrasts of perceived groups, and labels, of n pairs.

    ``groups``, K names; ``inside`` and ``outside``, shape (n, K), bool, disjoint: the group and what it is compared
    with; ``target``, shape (K,): the share that the group should have of both; ``labels``, shape (n, R), bool.
    """

    groups: tuple[str, ...]
    inside: np.ndarray
    outside: np.ndarray
    target: np.ndarray
    labels: np.ndarray

    def masses(self, rows: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Mass of ``rows`` inside and outside, in all and with each label: shape (2, K, 1 + R).

        ``weight`` has shape (n_rows,); default 1 each.
        """
        labelled = np.column_stack([np.ones(len(rows)), self.labels[rows]])  # (n_rows, 1 + R)
        if weight is not None:
            labelled *= weight[:, None]
        return np.stack([side[rows].T.astype(float) @ labelled for side in (self.inside, self.outside)])

    def bias(self, masses: np.ndarray) -> tuple[float, float]:
        """RB and AB, see `evenclip.balance.groups.bias`; what has no mass is left out, 0 if nothing is left."""
        total = masses[:, :, 0]  # (2, K)
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.abs(total[0] / total.sum(axis=0) - self.target)
            rate = masses[:, :, 1:] / masses[:, :, :1]
        return float(np.nan_to_num(deviation).max()), float(np.nan_to_num(np.abs(rate[0] - rate[1])).max())


def read_perceived(path: Path, keys: np.ndarray) -> Perceived:
    """Read the groups and labels of the pairs ``keys``, in this order.

    Raises
    ------
    InputError
        The table has no group or no label, or lacks a key.
    """
    table = read_table(path)
    check_unique_keys(table["key"], str(path))
    rows = pc.index_in(pa.array(keys, pa.string()), value_set=table["key"].cast(pa.string()).combine_chunks())
    if rows.null_count:
        missing = keys[rows.is_null().to_numpy(zero_copy_only=False)][0]
        raise InputError(f"the key '{missing}' has no labels", str(path), "label the data that is trained on")
    columns = {role: [name for name in table.column_names if _role(name) == role] for role in ("sensitive", "target")}
    for role, names in columns.items():
        if not names:
            raise InputError(f"no column {role}.*", str(path), "write it with `evenclip label`")
    attributes: dict[str, list[str]] = {}
    for name in sorted(columns["sensitive"]):
        attributes.setdefault(name.rpartition(".")[0], []).append(name)
    sides = [side for names in attributes.values() for side in _contrasts(table, names)]
    names, inside, outside, target = zip(*sides, strict=True)
    labels = [_true(table, name) for name in sorted(columns["target"])]
    inside, outside, labels = (np.column_stack(side)[rows.to_numpy()] for side in (inside, outside, labels))
    return Perceived(names, inside, outside, np.array(target), labels)


class Audited(Batches):
    """Batches that log `realised_rb` and `realised_ab`: the bias of what was shown, with a memory of one epoch.

    Balanced weights can be undone by batches that draw anew: this says whether they were.

    Parameters
    ----------
    batches : Batches
    perceived : Perceived
    """

    def __init__(self, batches: Batches, perceived: Perceived):
        self._batches, self._perceived = batches, perceived
        self.steps_per_epoch = batches.steps_per_epoch
        self._masses = 0 * perceived.masses(np.arange(0))

    def epoch(self, step: int) -> int:
        """The epoch of ``step``."""
        return self._batches.epoch(step)

    def at(self, step: int) -> Batch:
        """The batch of ``step``."""
        return self._batches.at(step)

    def prepare(self, step: int, embed: Embed) -> None:
        """Pass it on."""
        self._batches.prepare(step, embed)

    def known_until(self, step: int) -> float:
        """What the batches know."""
        return self._batches.known_until(step)

    def logged(self, batches: Sequence[Batch]) -> dict[str, float]:
        """What the batches log, and the bias up to now, older batches weighing less."""
        kept = 1 - 1 / self.steps_per_epoch
        for batch in batches:
            self._masses = kept * self._masses + self._perceived.masses(batch.rows)
        rb, ab = self._perceived.bias(self._masses)
        return self._batches.logged(batches) | {"realised_rb": rb, "realised_ab": ab}

    def state(self) -> dict[str, Any]:
        """The state of the batches, and what was shown."""
        return {"batches": self._batches.state(), "masses": torch.from_numpy(self._masses)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self._batches.restore(state["batches"])
        self._masses = state["masses"].numpy()


def _role(column: str) -> str:
    return column.removeprefix("image.").removeprefix("text.").partition(".")[0]


def _contrasts(table: pa.Table, names: list[str]) -> list[tuple[str, np.ndarray, np.ndarray, float]]:
    """Name, inside, outside and target share of each contrast of one attribute's columns."""
    value = [_true(table, name) for name in names]
    known = [table[name].is_valid().to_numpy() for name in names]
    short = [name.replace("sensitive.", "") for name in names]
    if len(names) == 2:
        both = known[0] & known[1]
        return [(short[0], both & value[0] & ~value[1], both & value[1] & ~value[0], 0.5)]
    any_known, covered = np.logical_or.reduce(known), np.logical_or.reduce(value)
    target = 0.5 if len(names) == 1 else float(covered[any_known].mean()) / len(names) if any_known.any() else 0.0
    return [(n, v, k & ~v, target) for n, v, k in zip(short, value, known, strict=True)]


def _true(table: pa.Table, column: str) -> np.ndarray:
    return pc.fill_null(table[column], False).to_numpy()
