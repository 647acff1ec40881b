"""Texts that say the same are no negatives of each other. Reads and writes nothing."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from evenclip.train.pairs import Pairs
from evenclip.train.step import Step


def caption_kinds(tokens: torch.Tensor) -> np.ndarray:
    """Shape (m,), int: captions that are equal once tokenised (case, white space) have the same number."""
    return torch.unique(tokens, dim=0, return_inverse=True)[1].numpy()


class SameTexts:
    """Which texts say the same as the batch's: equal captions, and texts that the model sees alike.

    Alike is a cosine of at least ``threshold`` once the batch's mean text is taken off: without, all texts are alike to
    a model that has learnt nothing.

    Parameters
    ----------
    kind : Tensor of shape (b,), int
        Of each text's caption, see `caption_kinds`.
    text : Tensor of shape (b, d)
        Unit features.
    threshold : float
    """

    def __init__(self, kind: torch.Tensor, text: torch.Tensor, threshold: float):
        self._kind, self._threshold = kind, threshold
        self._mean = text.detach().mean(dim=0)
        self._centred = self._centre(text)

    def within(self, rows: slice) -> torch.Tensor:
        """Whether each text says the same as those of ``rows``, shape (n_rows, b), bool; False on the diagonal."""
        same = self._kind[rows, None] == self._kind
        same |= self._centred[rows] @ self._centred.T >= self._threshold
        own = torch.arange(len(self._kind), device=same.device)
        return same.masked_fill_(own[rows, None] == own, False)

    def among(self, rows: slice, kind: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Whether other texts, (q,) and (q, d), say the same as those of ``rows``, shape (n_rows, q), bool."""
        return (self._kind[rows, None] == kind) | (self._centred[rows] @ self._centre(text).T >= self._threshold)

    def _centre(self, text: torch.Tensor) -> torch.Tensor:
        return F.normalize(text.detach() - self._mean, dim=1)


class DuplicateMask:
    """Masks, in both directions, the pairs whose texts say the same as the anchor's text."""

    extra_text = None

    def __init__(self, same: SameTexts, n: int):
        self._same, self._n = same, n
        self._n_masked = torch.zeros(())

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where masked, else 0."""
        same = self._same.within(rows)
        self._n_masked = self._n_masked + same.sum().cpu()
        return torch.zeros(same.shape, device=same.device).masked_fill_(same, -torch.inf)

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """As `log_weight`: saying the same is mutual."""
        return self.log_weight(rows)

    def logged(self) -> dict[str, torch.Tensor | float]:
        """``negatives_masked``: share of the negatives, in both directions, that were masked."""
        return {"negatives_masked": self._n_masked / max(2 * self._n * (self._n - 1), 1)}


class Duplicates:
    """Negatives that are plain but for duplicates, which are masked: the part that goes with SimCLIP batches.

    Parameters
    ----------
    pairs : Pairs
    threshold : float
        See `SameTexts`.
    """

    def __init__(self, pairs: Pairs, threshold: float):
        self._pairs, self._threshold = pairs, threshold
        self._kinds = caption_kinds(pairs.tokens)

    def adjust(self, step: Step) -> DuplicateMask:
        """The mask of one batch."""
        kind = torch.from_numpy(self._kinds[self._pairs.captions_of(step.batch)]).to(step.text.device)
        return DuplicateMask(SameTexts(kind, step.text, self._threshold), len(kind))

    def tables(self) -> dict[str, pa.Table]:
        """None."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""
