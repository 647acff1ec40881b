"""Texts that may be negatives: of the batch, of past batches, and false captions of the batch's own pictures."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from evenclip.train.group_labels import Perceived
from evenclip.train.plugin import Step

TEXTS = 5  # names the stream of random numbers that false captions are drawn from


@dataclass(frozen=True)
class Texts:
    """q texts: unit features ``text`` (q, d), and of each, shape (q,), int64, on the same device.

    ``caption``: its number among all captions, the false ones behind the others; ``row`` of its pair; ``number``: which
    of the pair's captions it is, or -1 - i for the i-th false caption.
    """

    text: torch.Tensor
    caption: torch.Tensor
    row: torch.Tensor
    number: torch.Tensor

    @property
    def is_false(self) -> torch.Tensor:
        """Shape (q,), bool: a false caption of the picture of its pair."""
        return self.number < 0

    def newest(self, size: int) -> Self:
        """The last ``size``, without a gradient."""
        first = max(0, len(self.text) - size)
        return type(self)(self.text[first:].detach(), self.caption[first:], self.row[first:], self.number[first:])

    def __add__(self, other: Self) -> Self:
        mine, theirs = vars(self).values(), vars(other).values()
        return type(self)(*(torch.cat(both) for both in zip(mine, theirs, strict=True)))

    def state(self) -> dict[str, Any]:
        """The tensors by name."""
        return dict(vars(self))


class FalseCaptions:
    """False captions of the training pairs.

    Parameters
    ----------
    rows : ndarray of shape (m,), int, sorted
        The pair of each.
    tokens : Tensor of shape (m, context)
        Of `Setting.tokens`.
    first : int
        Number of the first of them among all captions.
    share : float
        Of a batch's pairs that have any, those of which one is a candidate.
    seed : int
    """

    def __init__(self, rows: np.ndarray, tokens: torch.Tensor, first: int, share: float, seed: int):
        self._rows, self._tokens, self._first, self._share, self._seed = rows, tokens, first, share, seed

    def of(self, step: Step) -> Texts:
        """One false caption, drawn anew, of each pair of the batch that is drawn and has any; with gradient."""
        rng = np.random.default_rng([self._seed, step.position, TEXTS])
        pairs = step.batch.rows
        first, end = np.searchsorted(self._rows, pairs), np.searchsorted(self._rows, pairs, side="right")
        drawn = (rng.random(len(pairs)) < self._share) & (end > first)
        chosen = (first + (rng.random(len(pairs)) * (end - first)).astype(np.int64))[drawn]
        # beside the batch's own: or they could be told from true captions by being undisturbed
        text = step.encode_beside(self._tokens[chosen]) if len(chosen) else step.text[:0]
        columns = (self._first + chosen, self._rows[chosen], -1 - chosen)
        return Texts(text, *(torch.from_numpy(c).to(text.device) for c in columns))


@dataclass(frozen=True)
class CandidateGroups:
    """Groups of c candidates.

    ``member``, shape (K, 2, c), bool: inside and outside each contrast; ``labels``, shape (c, 1 + R), float: 1, then
    the labels; ``target``, shape (K,): the share that the inside should have.
    """

    member: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor

    @classmethod
    def of(cls, perceived: Perceived, device: torch.device) -> "CandidateGroups":
        """The groups of all pairs."""
        member = np.stack([perceived.inside.T, perceived.outside.T], axis=1)
        labels = np.column_stack([np.ones(len(perceived.labels)), perceived.labels])
        arrays = member, labels.astype(np.float32), perceived.target.astype(np.float32)
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))

    def at(self, rows: torch.Tensor) -> "CandidateGroups":
        """Those of the pairs ``rows``."""
        return CandidateGroups(self.member[..., rows], self.labels[rows], self.target)

    def bias(self, mass: torch.Tensor) -> dict[str, torch.Tensor]:
        """``negatives_rb`` and ``negatives_ab``: bias of the candidates with a ``mass`` each, shape (c,).

        As `Perceived.bias`; what has no mass is left out, 0 if nothing is left.
        """
        masses = self.member.to(mass.dtype) @ (mass[:, None] * self.labels)  # (K, 2, 1 + R)
        total, rate = masses[:, :, 0], masses[:, :, 1:] / masses[:, :, :1]
        deviation = total[:, 0] / total.sum(dim=1) - self.target
        found = {"negatives_rb": deviation, "negatives_ab": rate[:, 0] - rate[:, 1]}
        return {name: values.abs().nan_to_num(0).max() for name, values in found.items()}
