"""What one step of a training holds, and the parts that a method plugs into it.

`Engine.step` is: batch -> encode -> contrastive loss -> extra terms -> optimiser. A method is one or more of the parts

- `batches` (`evenclip.train.batches.Batches`): which pairs meet in a batch;
- `augmentation` (`Augmentation`): what happens inside the towers while they encode;
- `negatives` (`Negatives`): which negatives count how much, and negatives from outside the batch;
- `terms` (`Term`): losses beside the contrastive one, with their own parameters if they have any;

driven by the one `evenclip.train.plugin`. To plug a method in: its options are `train/<method>_options.py` (no torch)
and one line of `train/options.py`, ``<method>: <Method>Options | None = None``; its part is built by one line of
`train/methods.py`. A part that is off is not built at all. All that a part logs are columns of the history.

With several processes every rank does the same step on its share of the batch. `Step.image` and `Step.text` are the
features of the whole batch on every rank, `Step.images` and `Step.tokens` those of the rank's rows ``Step.mine``. What
is minimised is the mean over ranks of what each computes: a part may compute on the whole batch (equally on every
rank) or on its own rows (as a mean over them), both come out right. What a part remembers between steps must follow
from the whole batch, so that it is the same on every rank.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import torch
from torch import nn

from evenclip.model.clip import Clip
from evenclip.train.batches import Batch
from evenclip.train.data import Pairs
from evenclip.train.options import TrainOptions


@dataclass(frozen=True)
class Clock:
    """``n_steps``: steps of the whole training, at least 1."""

    n_steps: int

    def progress(self, step: int) -> float:
        """How far the training is at ``step``, from 0: 0 at the first step, 1 at the last."""
        return min(1.0, step / max(1, self.n_steps - 1))


def ramp(progress: float, start: float, end: float, n_levels: int | None = None) -> float:
    """A value that goes from ``start`` to ``end`` as ``progress`` goes from 0 to 1.

    Parameters
    ----------
    progress : float
        In [0, 1], of `Clock.progress`.
    start, end : float
    n_levels : int, optional
        At least 2: the value takes so many equally spaced levels, each for an equal share of the training; default:
        it changes at every step.
    """
    if n_levels is not None:
        progress = min(int(progress * n_levels), n_levels - 1) / (n_levels - 1)
    return start + (end - start) * progress


@dataclass(frozen=True)
class Setting:
    """What a method may be built from."""

    options: TrainOptions
    clip: Clip
    """Its module is on `device` with the full vocabulary; a method that needs its starting state copies it."""
    pairs: Pairs
    seed: int
    clock: Clock
    device: torch.device
    data: Path | None = None
    """Folder of image-text shards."""
    labels: Path | None = None
    """Labels table of the pairs."""
    graph: Path | None = None
    """Folder of the knowledge graph."""
    further: list[torch.Tensor] = field(default_factory=list)
    """Tokens that `tokens` has given out."""

    def tokens(self, texts: list[str]) -> torch.Tensor:
        """Tokens of texts beside the captions, shape (m, context): rows of it are what `Step.encode_text` takes.

        The vocabulary of a training is cut to what it holds, so all texts must be known when the parts are built.
        """
        self.further.append(self.clip.tokenizer(texts))
        return self.further[-1]


@dataclass(frozen=True)
class Step:
    """One step, once the batch is encoded."""

    position: int
    """Number of the step, from 0."""
    progress: float
    """How far the training is, in [0, 1]."""
    batch: Batch
    """The whole batch, b pairs."""
    mine: slice
    """The rows of the batch that this process encoded: all of them in a single process."""
    image: torch.Tensor
    """Unit image features of the whole batch, float32, shape (b, d)."""
    text: torch.Tensor
    """Unit text features of the whole batch, float32, shape (b, d)."""
    tokens: torch.Tensor
    """Tokens of the rows `mine`, int64, shape (n_mine, l), cut and in the narrow vocabulary."""
    module: nn.Module
    """The model; encode with `encode_image` and `encode_text`, which know precision and vocabulary."""
    logit_scale: torch.Tensor
    """What similarities are multiplied by (not its logarithm), a scalar with gradient."""
    load_images: Callable[[], torch.Tensor]
    """Makes `images`."""
    encode_image: Callable[[torch.Tensor], torch.Tensor]
    """Unit features, float32, shape (k, d), of normalised images, shape (k, 3, h, w), on the device."""
    encode_text: Callable[[torch.Tensor], torch.Tensor]
    """Unit features, float32, shape (k, d), of rows, shape (k, context), of what `Setting.tokens` gave."""
    encode_beside: Callable[[torch.Tensor], torch.Tensor]
    """`encode_text` of texts that stand beside the batch's own, disturbed as these were. Every rank gives the same
    texts, encodes its share of them and has the features of all."""
    autocast: Callable[[], AbstractContextManager]
    """The context of the training's precision, for a term's own layers."""

    @cached_property
    def images(self) -> torch.Tensor:
        """Normalised and cropped images of the rows `mine`, float32, shape (n_mine, 3, h, w); made when asked for."""
        return self.load_images()


class Adjustment(Protocol):
    """Weights, masks and additions to the negatives of one batch; none of its weights has a gradient."""

    extra_text: torch.Tensor | None
    """Unit features of q more negative texts, shape (q, d)."""

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Added to the image-to-text logits of ``rows``, shape (n_rows, b): 0 on the diagonal, -inf = masked."""

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Added to the text-to-image logits of the texts ``rows``, shape (n_rows, b); else as `log_weight`."""

    def extra_log_weight(self, rows: slice) -> torch.Tensor:
        """Added to the logits of the images ``rows`` with `extra_text`, shape (n_rows, q); -inf = masked."""

    def logged(self) -> dict[str, torch.Tensor | float]:
        """Scalars for the history, the same names at every step; called once the loss is known."""


class Negatives(Protocol):
    """Decides how much each negative counts."""

    def adjust(self, step: Step) -> Adjustment | None:
        """The adjustment of this batch; None = every negative counts 1."""

    def tables(self) -> dict[str, pa.Table]:
        """Tables for the run folder by the stem of their file, once the training is done."""

    def state(self) -> dict[str, Any]:
        """What is remembered between steps, in types that torch loads safely."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""


class Augmentation(Protocol):
    """Changes what the towers compute while a training batch is encoded.

    Its draws must depend on torch's global generator alone, which is seeded anew before every encoding.
    """

    def applied(self, module: nn.Module, position: int, progress: float) -> AbstractContextManager:
        """A context in which ``module`` encodes the batch of step ``position``."""


class Term(nn.Module):
    """A loss beside the contrastive one; abstract.

    Its parameters are trained with it, with a learning rate of their own, and its parameters and buffers are saved.
    """

    weight: float
    """What the loss is multiplied by; above 0, as a term of weight 0 is not built."""
    lr: float
    """Highest learning rate of its own parameters; warm-up and decay are those of the training."""

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The loss, before `weight`, and scalars for the history, the same names at every step."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write into the run's folder what is of use after the training; nothing, unless a term says otherwise."""
