"""The part of a training that mines negatives: its memory, and what it puts together for each batch."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evenclip.train.group_labels import Perceived
from evenclip.train.methods.ahnm.candidates import CandidateGroups, FalseCaptions, Texts
from evenclip.train.methods.ahnm.examples import N_ANCHORS, NegativeExamples
from evenclip.train.methods.ahnm.mining import Mining, mine
from evenclip.train.methods.false_negatives import Truth, false_captions, known_truth
from evenclip.train.options import AhnmOptions
from evenclip.train.plugin import Setting, Step, ramp


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


class HardNegatives:
    """Adaptive hard negative mining.

    Parameters
    ----------
    setting : Setting
        With ``options.ahnm``. Its graph, if any, gives false captions.
    perceived : Perceived, optional
        For fair shares, and for the bias of what is mined.
    """

    def __init__(self, setting: Setting, perceived: Perceived | None):
        self._options, self._setting = setting.options.ahnm, setting
        pairs, graph = setting.pairs, setting.graph
        rows, self._false_texts = false_captions(graph, pairs.keys) if graph else (np.zeros(0, np.int64), [])
        false_tokens = setting.tokens(self._false_texts) if len(rows) else pairs.tokens[:0]
        share, n_captions = self._options.graph_texts, len(pairs.tokens)
        usable = len(rows) and share
        self._false = FalseCaptions(rows, false_tokens, n_captions, share, setting.seed) if usable else None
        captions = torch.cat([pairs.tokens, false_tokens])
        self._true = known_truth(setting, captions) if setting.options.mask_true else None
        self._groups = CandidateGroups.of(perceived, setting.device) if perceived else None
        self._queue: Texts | None = None
        self._examples = NegativeExamples(setting.clock.n_steps)

    def adjust(self, step: Step) -> MinedNegatives:
        """The weights of one batch's negatives; the batch's texts are remembered."""
        own = self._own_texts(step)
        texts = own if self._queue is None else own + self._queue
        if self._false:
            texts += self._false.of(step)
        mined = MinedNegatives(
            image=step.image,
            texts=texts,
            scale=step.logit_scale,
            truth=self._true.at(step.batch.rows, texts.caption.cpu().numpy()) if self._true else None,
            mining=mining_at(self._options, step.progress),
            groups=self._groups.at(texts.row) if self._groups else None,
            fair=self._options.fair,
        )
        if self._examples.wanted(step.position):
            first = slice(0, min(N_ANCHORS, len(own.row)))
            cosine = step.image[first].detach() @ texts.text.detach().T
            self._examples.record(step.position, texts, len(own.row), cosine, mined.weight_of_texts(first))
        remembered = own if self._queue is None else self._queue + own
        self._queue = remembered.newest(self._options.queue)
        return mined

    def tables(self) -> dict[str, pa.Table]:
        """Examples of what was mined."""
        setting = self._setting
        return {"negatives": self._examples.table(setting.data, setting.pairs.keys, self._false_texts)}

    def state(self) -> dict[str, Any]:
        """The texts remembered, and the examples."""
        return {"queue": self._queue.state() if self._queue else {}, "examples": self._examples.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        queue = {name: tensor.to(self._setting.device) for name, tensor in state["queue"].items()}
        self._queue = Texts(**queue) if queue else None
        self._examples.restore(state["examples"])

    def _own_texts(self, step: Step) -> Texts:
        pairs, rows = self._setting.pairs, step.batch.rows
        number = (step.batch.draws * (pairs.starts[rows + 1] - pairs.starts[rows])).astype(np.int64)
        columns = pairs.captions_of(step.batch), rows, number
        return Texts(step.text, *(torch.from_numpy(c).to(step.text.device) for c in columns))
