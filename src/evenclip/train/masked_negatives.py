"""Plain negatives, without the texts that are known to be true of a picture. Reads and writes nothing."""

from typing import Any

import pyarrow as pa
import torch

from evenclip.train.facts import known_truth
from evenclip.train.setting import Setting
from evenclip.train.step import Step
from evenclip.train.true_captions import Truth


class TruthMask:
    """Masks, of n pairs, the texts that are true of a picture which is not their own."""

    extra_text = None

    def __init__(self, truth: Truth, n: int):
        self._truth, self._n = truth, n
        self._n_masked, self._n_cells = torch.zeros((), device=truth.said.device), 0

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where a text is true of the pictures ``rows``, else 0."""
        return self._masked(self._truth.of(rows, slice(0, self._n)), rows)

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where the texts ``rows`` are true of a picture, else 0."""
        return self._masked(self._truth.of(slice(0, self._n), rows).T, rows)

    def logged(self) -> dict[str, torch.Tensor | float]:
        """``negatives_masked``: share of the negatives, in both directions, that were masked."""
        return {"negatives_masked": self._n_masked / max(self._n_cells, 1)}

    def _masked(self, true: torch.Tensor, rows: slice) -> torch.Tensor:
        columns = torch.arange(self._n, device=true.device)
        true = true & (columns[rows, None] != columns)
        self._n_masked = self._n_masked + true.sum()
        self._n_cells += true.numel() - len(true)
        return torch.zeros(true.shape, device=true.device).masked_fill_(true, -torch.inf)


class MaskedNegatives:
    """All negatives count alike, but for texts that are known to be true of a picture: they are none.

    Parameters
    ----------
    setting : Setting
    """

    def __init__(self, setting: Setting):
        self._pairs, self._true = setting.pairs, known_truth(setting, setting.pairs.tokens)

    def adjust(self, step: Step) -> TruthMask:
        """The mask of one batch."""
        rows = step.batch.rows
        return TruthMask(self._true.at(rows, self._pairs.captions_of(step.batch)), len(rows))

    def tables(self) -> dict[str, pa.Table]:
        """None."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""
