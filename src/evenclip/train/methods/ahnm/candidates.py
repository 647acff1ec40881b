"""Candidate negatives of an image: the texts of the batch, and false captions of the batch's own images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.bias import shares_and_associations
from evenclip.tables import read_table
from evenclip.train.group_labels import GroupLabels
from evenclip.train.plugin import Step

TEXTS = 5  # names the stream of random numbers that false captions are drawn from


@dataclass(frozen=True)
class Texts:
    """q texts: unit features ``text``, shape (q, d), and three int64 tensors, shape (q,), on the same device.

    ``caption``: number among all captions, the false ones after the others; ``row``: the pair; ``number``: position
    among the pair's captions, or -1 - i for the i-th false caption of the training set.
    """

    text: torch.Tensor
    caption: torch.Tensor
    row: torch.Tensor
    number: torch.Tensor

    @property
    def is_false(self) -> torch.Tensor:
        """Shape (q,), bool: whether a text is a false caption of the image of its pair."""
        return self.number < 0

    def __add__(self, other: Self) -> Self:
        columns = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(torch.cat(both) for both in columns))


def false_captions(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The false captions that the graph has for the pairs ``keys``.

    Returns
    -------
    tuple
        The pair of each, by its row in ``keys``, shape (m,), sorted, and its text.
    """
    path = graph / "negatives.parquet"
    if not path.is_file():
        return np.zeros(0, np.int64), []
    table = read_table(path, ["key", "text"])
    rows = pc.index_in(table["key"], value_set=pa.array(keys, pa.string()))
    table = table.append_column("row", rows).filter(pc.is_valid(rows)).sort_by("row")
    return table["row"].to_numpy().astype(np.int64), table["text"].to_pylist()


class FalseCaptions:
    """Draws false captions for the pairs of a batch.

    Parameters
    ----------
    rows : ndarray of shape (m,), int, sorted
        The pair of each false caption.
    tokens : Tensor of shape (m, context)
        From `MethodContext.tokens`.
    first : int
        Number of the first false caption among all captions.
    share : float
        Share of the pairs that have false captions for which one is drawn.
    seed : int
    """

    def __init__(self, rows: np.ndarray, tokens: torch.Tensor, first: int, share: float, seed: int):
        self._rows, self._tokens, self._first, self._share, self._seed = rows, tokens, first, share, seed

    def of(self, step: Step) -> Texts:
        """At most one false caption for each pair of the batch, drawn anew at each step; with gradient."""
        rng = np.random.default_rng([self._seed, step.position, TEXTS])
        pairs = step.batch.rows
        first, end = np.searchsorted(self._rows, pairs), np.searchsorted(self._rows, pairs, side="right")
        drawn = (rng.random(len(pairs)) < self._share) & (end > first)
        chosen = (first + (rng.random(len(pairs)) * (end - first)).astype(np.int64))[drawn]
        # augmented like the batch's own texts: otherwise false captions could be told by the missing augmentation
        text = step.encode_beside(self._tokens[chosen]) if len(chosen) else step.text[:0]
        columns = (self._first + chosen, self._rows[chosen], -1 - chosen)
        return Texts(text, *(torch.from_numpy(c).to(text.device) for c in columns))


@dataclass(frozen=True)
class CandidateGroups:
    """Perceived groups of c candidates.

    ``member``, shape (K, 2, c), bool: inside and outside each contrast; ``labels``, shape (c, 1 + R), float: a column
    of ones, then the labels; ``target``, shape (K,): the share that the inside should have.
    """

    member: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor

    @classmethod
    def of(cls, group_labels: GroupLabels, device: torch.device) -> "CandidateGroups":
        """The groups of all pairs."""
        member = np.stack([group_labels.inside.T, group_labels.outside.T], axis=1)
        labels = np.column_stack([np.ones(len(group_labels.labels)), group_labels.labels])
        arrays = member, labels.astype(np.float32), group_labels.target.astype(np.float32)
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))

    def at(self, rows: torch.Tensor) -> "CandidateGroups":
        """The groups of the pairs ``rows``."""
        return CandidateGroups(self.member[..., rows], self.labels[rows], self.target)

    def bias(self, mass: torch.Tensor) -> dict[str, torch.Tensor]:
        """Bias of the candidates weighed by ``mass``, shape (c,): ``negatives_rb`` and ``negatives_ab``.

        As `evenclip.bias.Bias`; NaN where nothing can be compared.
        """
        masses = self.member.to(mass.dtype) @ (mass[:, None] * self.labels)  # (K, 2, 1 + R)
        share, association = shares_and_associations(masses[:, 0], masses[:, 1])
        return {"negatives_rb": _largest(share - self.target), "negatives_ab": _largest(association)}


def _largest(values: torch.Tensor) -> torch.Tensor:
    largest = values.abs().nan_to_num(-1.0).max()
    return torch.where(largest < 0, torch.nan, largest)
