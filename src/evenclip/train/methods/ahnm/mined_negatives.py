"""Hard negatives of each batch: candidates, known positives and weights put together for the contrastive loss."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evenclip.train.known_positives import BatchPositives, known_positives
from evenclip.train.method_options import AhnmOptions
from evenclip.train.methods.ahnm.candidates import CandidateGroups, FalseCaptions, Texts, false_captions
from evenclip.train.methods.ahnm.examples import N_ANCHORS, NegativeExamples
from evenclip.train.methods.ahnm.mining import Mining, negative_weights
from evenclip.train.plugin import MethodContext, Step, ramp


def mining_at(options: AhnmOptions, progress: float) -> Mining:
    """How negatives are weighed at ``progress``, in [0, 1], of the training."""
    sharpness = ramp(progress, options.sharpness_start, options.sharpness_end)
    return Mining(sharpness, options.focus, options.max_weight, ramp(progress, options.strength_start, 1.0))


class MinedNegatives:
    """Weights of the negatives of one batch, computed for the rows that are asked for (an `Adjustment`).

    Parameters
    ----------
    image : Tensor of shape (b, d)
        Unit features of the batch's images.
    texts : Texts
        The candidate negatives of an image: the b texts of the batch, then q others.
    scale : Tensor of shape ()
        Factor of the similarities.
    positives : BatchPositives, optional
        Which of the b + q texts are known to be true of which of the b images: they are no negatives.
    mining : Mining
    groups : CandidateGroups, optional
        Perceived groups of the candidates.
    fair : bool
        Whether each group keeps its share of an anchor's negatives.
    """

    def __init__(self, image: torch.Tensor, texts: Texts, scale: torch.Tensor, positives: BatchPositives | None,
                 mining: Mining, groups: CandidateGroups | None = None, fair: bool = False):  # fmt: skip
        self.n = len(image)
        self.extra_text = texts.text[self.n :] if len(texts.text) > self.n else None
        self._image, self._text, self._scale = image.detach(), texts.text.detach(), scale.detach()
        self._texts, self._positives, self._mining, self._groups = texts, positives, mining, groups
        self._member = groups.member if groups and fair else None
        self._last: tuple[slice, torch.Tensor] | None = None
        self._mass = torch.zeros(len(texts.text), device=image.device)
        self._n_masked, self._n_cells = torch.zeros((), device=image.device), 0

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b), for the batch's texts and the images ``rows``."""
        weight = self.weight_of_texts(rows)
        self._mass = self._mass + weight.sum(dim=0)
        return self._with_own_pair(weight[:, : self.n], rows)

    def extra_log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, q), for the other texts and the images ``rows``."""
        return self.weight_of_texts(rows)[:, self.n :].log()

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b), for the batch's images and the texts ``rows``."""
        member = self._member[..., : self.n] if self._member is not None else None
        true = self._true(slice(0, self.n), rows).T
        return self._with_own_pair(self._weights(rows, self._text[rows], self._image, true, member), rows)

    def weight_of_texts(self, rows: slice) -> torch.Tensor:
        """Weights of all candidates of the images ``rows``, shape (n_rows, b + q)."""
        if self._last is None or self._last[0] != rows:
            true = self._true(rows, slice(0, len(self._text)))
            self._last = rows, self._weights(rows, self._image[rows], self._text, true, self._member)
        return self._last[1]

    def logged(self) -> dict[str, torch.Tensor | float]:
        """The bias of the weighed negatives, the share of candidates that were masked, and the strength of mining."""
        bias = self._groups.bias(self._mass) if self._groups else {}
        masked = {"negatives_masked": self._n_masked / max(self._n_cells, 1)}
        return bias | masked | {"negatives_strength": self._mining.strength}

    def _weights(self, rows: slice, anchors: torch.Tensor, candidates: torch.Tensor, true: torch.Tensor,
                 member: torch.Tensor | None) -> torch.Tensor:  # fmt: skip
        """Weights of ``candidates`` for ``anchors``, the ``rows`` of their side; no weight where ``true``."""
        own = (self._image[rows] * self._text[rows]).sum(dim=1)  # (n_rows,)
        cosine = anchors @ candidates.T
        own_pair = _diagonal(rows, cosine)
        allowed = ~true & ~own_pair
        self._n_masked = self._n_masked + (true & ~own_pair).sum()
        self._n_cells += cosine.numel() - len(own)
        return negative_weights(self._scale * cosine, self._scale * own, allowed, self.n, self._mining, member)

    def _true(self, images: slice, texts: slice) -> torch.Tensor:
        """Which ``texts`` are true of which ``images`` of the batch, shape (n, m), bool."""
        same_pair = self._texts.row[: self.n][images, None] == self._texts.row[texts]
        true = self._positives.of(images, texts) if self._positives else same_pair
        return true & ~(same_pair & self._texts.is_false[texts])  # false captions were written to be false of the image

    def _with_own_pair(self, weight: torch.Tensor, rows: slice) -> torch.Tensor:
        return weight.log().masked_fill(_diagonal(rows, weight), 0.0)


def _diagonal(rows: slice, cells: torch.Tensor) -> torch.Tensor:
    """Where ``cells``, of ``rows`` and shape (n_rows, c), have the row's own pair."""
    columns = torch.arange(cells.shape[1], device=cells.device)
    return torch.arange(rows.start, rows.stop, device=cells.device)[:, None] == columns


class HardNegatives:
    """Adaptive hard negative mining as the `Negatives` of a training.

    Parameters
    ----------
    context : MethodContext
        A graph provides false captions; a labels table fair shares, and the logged bias of the negatives.
    options : AhnmOptions
    """

    def __init__(self, context: MethodContext, options: AhnmOptions):
        self._options, self._context = options, context
        pairs, graph, group_labels = context.pairs, context.graph, context.group_labels
        rows, self._false_texts = false_captions(graph, pairs.keys) if graph else (np.zeros(0, np.int64), [])
        false_tokens = context.tokens(self._false_texts) if len(rows) else pairs.tokens[:0]
        share, n_captions = options.graph_texts, len(pairs.tokens)
        has_false = len(rows) and share
        self._false_captions = FalseCaptions(rows, false_tokens, n_captions, share, context.seed) if has_false else None
        captions = torch.cat([pairs.tokens, false_tokens])
        self._positives = known_positives(context, captions) if context.options.mask_true else None
        self._groups = CandidateGroups.of(group_labels, context.device) if group_labels else None
        self._examples = NegativeExamples(context.clock.n_steps)

    def adjust(self, step: Step) -> MinedNegatives:
        """The weights of one batch's negatives."""
        own = self._own_texts(step)
        texts = own + self._false_captions.of(step) if self._false_captions else own
        positives = self._positives
        mined = MinedNegatives(
            image=step.image,
            texts=texts,
            scale=step.logit_scale,
            positives=positives.at(step.batch.rows, texts.caption.cpu().numpy()) if positives else None,
            mining=mining_at(self._options, step.progress),
            groups=self._groups.at(texts.row) if self._groups else None,
            fair=self._options.fair,
        )
        if self._examples.wanted(step.position):
            first = slice(0, min(N_ANCHORS, len(own.row)))
            cosine = step.image[first].detach() @ texts.text.detach().T
            self._examples.record(step.position, texts, cosine, mined.weight_of_texts(first))
        return mined

    def tables(self) -> dict[str, pa.Table]:
        """Examples of mined negatives, as `negatives.parquet`."""
        context = self._context
        return {"negatives": self._examples.table(context.data, context.pairs.keys, self._false_texts)}

    def state(self) -> dict[str, Any]:
        """The examples recorded so far."""
        return self._examples.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self._examples.restore(state)

    def _own_texts(self, step: Step) -> Texts:
        pairs, rows = self._context.pairs, step.batch.rows
        number = (step.batch.draws * (pairs.starts[rows + 1] - pairs.starts[rows])).astype(np.int64)
        columns = pairs.captions_of(step.batch), rows, number
        return Texts(step.text, *(torch.from_numpy(c).to(step.text.device) for c in columns))
