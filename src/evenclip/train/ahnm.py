"""Adaptive hard negative mining as the training's negatives: candidates, false negatives, weights, what was mined.

The candidates of an image are the batch's texts, texts of past batches and false captions from the graph; those of a
text are the batch's images. `evenclip.train.mining` chooses and weighs them. The method is ours.
"""

import torch

from evenclip.train.ahnm_options import AhnmOptions
from evenclip.train.candidates import Texts
from evenclip.train.clock import ramp
from evenclip.train.group_shares import CandidateGroups
from evenclip.train.mining import Mining, mine
from evenclip.train.true_captions import Truth


def mining_at(options: AhnmOptions, progress: float) -> Mining:
    """How negatives are mined at ``progress`` of the training."""
    low, high = (ramp(progress, *ends) for ends in zip(options.band_start, options.band_end, strict=True))
    sharpness = ramp(progress, options.sharpness_start, options.sharpness_end)
    strength = ramp(progress, options.strength_start, options.strength_end)
    return Mining(low, high, options.top_k, sharpness, options.focus, options.max_weight, strength)


class MinedNegatives:
    """The weights of one batch's negatives, computed for the rows that are asked for.

    Parameters
    ----------
    image : Tensor of shape (b, d)
        Unit features of the batch's images.
    texts : Texts
        The candidates of an image: the b texts of the batch, then q others.
    scale : Tensor of shape ()
        What similarities are multiplied by.
    truth : Truth, optional
        Of the b pictures and the b + q texts: a text that is true of a picture is no negative of it.
    mining : Mining
    groups : CandidateGroups, optional
        Perceived groups of the candidates.
    fair : bool
        Whether mining leaves each group its share of an anchor's negatives.
    """

    def __init__(self, image: torch.Tensor, texts: Texts, scale: torch.Tensor, truth: Truth | None, mining: Mining,
                 groups: CandidateGroups | None = None, fair: bool = False):  # fmt: skip
        self.n = len(image)
        self.extra_text = texts.text[self.n :] if len(texts.text) > self.n else None
        self._image, self._text, self._scale = image.detach(), texts.text.detach(), scale.detach()
        self._texts, self._truth, self._mining, self._groups = texts, truth, mining, groups
        self._sides = groups.member if groups and fair else None
        self._last: tuple[slice, torch.Tensor] | None = None
        self._mass = torch.zeros(len(texts.text), device=image.device)
        self._n_false, self._n_cells = torch.zeros((), device=image.device), 0

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b), of the batch's texts for the images ``rows``."""
        weight = self.weight_of_texts(rows)
        self._mass = self._mass + weight.sum(dim=0)
        return self._with_own_pair(weight[:, : self.n], rows)

    def extra_log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, q), of the other texts for the images ``rows``."""
        return self.weight_of_texts(rows)[:, self.n :].log()

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b), of the batch's images for the texts ``rows``."""
        sides = self._sides[..., : self.n] if self._sides is not None else None
        true = self._true(slice(0, self.n), rows).T
        return self._with_own_pair(self._mine(rows, self._text[rows], self._image, true, sides), rows)

    def weight_of_texts(self, rows: slice) -> torch.Tensor:
        """Weights of all candidates of the images ``rows``, shape (n_rows, b + q)."""
        if self._last is None or self._last[0] != rows:
            true = self._true(rows, slice(0, len(self._text)))
            self._last = rows, self._mine(rows, self._image[rows], self._text, true, self._sides)
        return self._last[1]

    def logged(self) -> dict[str, torch.Tensor | float]:
        """The band, the weight of what is mined, the share of false negatives among candidates, and the bias."""
        bias = self._groups.bias(self._mass) if self._groups else {}
        return bias | {
            "negatives_band_low": self._mining.low,
            "negatives_band_high": self._mining.high,
            "negatives_masked": self._n_false / max(self._n_cells, 1),
            "negatives_strength": self._mining.strength,
        }

    def _mine(
        self,
        rows: slice,
        anchors: torch.Tensor,
        candidates: torch.Tensor,
        true: torch.Tensor,
        sides: torch.Tensor | None,
    ) -> torch.Tensor:
        """Weights of ``candidates`` for ``anchors``, the ``rows`` of their side; ``true``: no negatives."""
        own = (self._image[rows] * self._text[rows]).sum(dim=1)  # (n_rows,)
        cosine = anchors @ candidates.T
        own_pair = _diagonal(rows, cosine)
        allowed = ~true & ~own_pair
        self._n_false = self._n_false + (true & ~own_pair).sum()
        self._n_cells += cosine.numel() - len(own)
        return mine(self._scale * cosine, self._scale * own, allowed, self.n, self._mining, sides)

    def _true(self, pictures: slice, texts: slice) -> torch.Tensor:
        """Which ``texts`` are true of which ``pictures`` of the batch, shape (n, m), bool."""
        of_picture = self._texts.row[: self.n][pictures, None] == self._texts.row[texts]
        true = self._truth.of(pictures, texts) if self._truth else of_picture
        return true & ~(of_picture & self._texts.is_false[texts])  # written to be false of this very picture

    def _with_own_pair(self, weight: torch.Tensor, rows: slice) -> torch.Tensor:
        return weight.log().masked_fill(_diagonal(rows, weight), 0.0)


def _diagonal(rows: slice, cells: torch.Tensor) -> torch.Tensor:
    """Where ``cells``, of ``rows`` and shape (n_rows, c), have the row's own pair."""
    columns = torch.arange(cells.shape[1], device=cells.device)
    return torch.arange(rows.start, rows.stop, device=cells.device)[:, None] == columns
