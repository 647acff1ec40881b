"""Texts that may be negatives: of the batch, of past batches, and false captions of the batch's own pictures."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from evenclip.train.step import Step

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
