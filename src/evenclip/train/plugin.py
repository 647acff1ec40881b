"""What a training method can change: the parts that it plugs into a training, and what each part is given.

One step of a training (`evenclip.train.engine.Engine.step`) takes a batch, encodes it, computes the contrastive loss
and any further losses, and updates the weights. A method changes one or more of these parts:

- **batches** (`evenclip.train.batches.Batches`): which pairs meet in a batch;
- **augmentation** (`Augmentation`): what happens inside the towers while they encode a batch;
- **negatives** (`Negatives`): how much each negative counts, and negatives from outside the batch;
- **terms** (`Term`): losses beside the contrastive one, with parameters of their own if they need any.

To add a method called ``mixup``:

1. In `evenclip.train.method_options` write its options, ``class MixupOptions(MethodOptions)``, with a ``title``, a
   ``summary`` and the inputs that it ``needs`` or ``uses``; in `evenclip.train.options` import them and give
   `TrainOptions` a field ``mixup: MixupOptions | None = None``.
2. Write `methods/mixup.py` with ``def build(context: MethodContext, options: MixupOptions) -> MethodParts``.

The command line, the study's checks and the bias card find it there; `make docs` adds it to the schema, to
config/README.md and to the table of methods in docs/training.md. A method whose block is absent is not built, so it
costs nothing. Every scalar that a part logs is a column of the history.

**Several processes.** Every process does the same step on its share of the batch. `Step.image` and `Step.text` are the
features of the whole batch in every process; `Step.images` and `Step.tokens` belong to the process's own rows,
`Step.local_rows`. The mean over processes of what each one computes is minimised. A part may therefore compute a loss
of the whole batch (the same in every process) or a mean over its own rows. What a part remembers between steps must
follow from the whole batch, so that it is the same in every process.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from evenclip.model.clip import Clip
from evenclip.train.batches import Batch, Batches
from evenclip.train.data import Pairs
from evenclip.train.group_labels import GroupLabels, read_group_labels
from evenclip.train.options import TrainOptions


@dataclass(frozen=True)
class Clock:
    """Progress of a training of ``n_steps`` steps, at least 1."""

    n_steps: int

    def progress(self, step: int) -> float:
        """Progress at ``step``, counted from 0: 0 at the first step, 1 at the last."""
        return min(1.0, step / max(1, self.n_steps - 1))


def ramp(progress: float, start: float, end: float, n_levels: int | None = None) -> float:
    """A value that moves linearly from ``start`` to ``end`` during a training.

    Parameters
    ----------
    progress : float
        In [0, 1], from `Clock.progress`.
    start, end : float
    n_levels : int, optional
        At least 2: the value takes this many equally spaced levels, each for an equal share of the training. By default
        it changes at every step.
    """
    if n_levels is not None:
        progress = min(int(progress * n_levels), n_levels - 1) / (n_levels - 1)
    return start + (end - start) * progress


@dataclass(frozen=True)
class MethodContext:
    """What a method may be built from: options, model, training pairs, and the inputs of the training."""

    options: TrainOptions
    clip: Clip
    """The model, on `device` and with its full vocabulary. A method that needs its initial state must copy it."""
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
    weights: Path | None = None
    """`weights.parquet` that the pairs' copies come from."""
    extra_tokens: list[torch.Tensor] = field(default_factory=list)
    """Tokens of all texts that were asked for with `tokens`."""

    def tokens(self, texts: list[str]) -> torch.Tensor:
        """Tokens of texts beside the captions, shape (m, context); `Step.encode_text` takes rows of them.

        The vocabulary of a training is cut to the tokens that occur, so every text must be announced here, while the
        parts are built.
        """
        self.extra_tokens.append(self.clip.tokenizer(texts))
        return self.extra_tokens[-1]

    @cached_property
    def group_labels(self) -> GroupLabels | None:
        """Perceived groups and labels of the pairs; None without a labels table."""
        return read_group_labels(self.labels, self.pairs.keys, self.weights) if self.labels else None


@dataclass(frozen=True)
class Step:
    """One step, once its batch is encoded."""

    position: int
    """Number of the step, from 0."""
    progress: float
    """Progress of the training, in [0, 1]."""
    batch: Batch
    """The whole batch, b pairs."""
    local_rows: slice
    """Rows of the batch that this process encoded; all of them in a single process."""
    image: torch.Tensor
    """Unit image features of the whole batch, float32, shape (b, d)."""
    text: torch.Tensor
    """Unit text features of the whole batch, float32, shape (b, d)."""
    tokens: torch.Tensor
    """Tokens of the local rows, int64, shape (n_local, l), trimmed and in the narrow vocabulary."""
    module: nn.Module
    """The model. To encode, use `encode_image` and `encode_text`, which take care of precision and vocabulary."""
    logit_scale: torch.Tensor
    """Factor of the similarities (not its logarithm), a scalar with gradient."""
    load_images: Callable[[], torch.Tensor]
    """Makes `images`."""
    encode_image: Callable[[torch.Tensor], torch.Tensor]
    """Unit features, float32, shape (k, d), of normalised images, shape (k, 3, h, w), on the device."""
    encode_text: Callable[[torch.Tensor], torch.Tensor]
    """Unit features, float32, shape (k, d), of tokens from `MethodContext.tokens`, shape (k, context)."""
    encode_beside: Callable[[torch.Tensor], torch.Tensor]
    """As `encode_text`, for texts that compete with the batch's own: they are augmented in the same way. Every process
    passes the same texts, encodes its share of them and gets the features of all."""
    autocast: Callable[[], AbstractContextManager]
    """Context of the training's precision, for the layers of a term."""

    @cached_property
    def images(self) -> torch.Tensor:
        """Normalised and cropped images of the local rows, float32, shape (n_local, 3, h, w); made when first read."""
        return self.load_images()


class Adjustment(Protocol):
    """Weights, masks and additions to the negatives of one batch; its weights carry no gradient."""

    extra_text: torch.Tensor | None
    """Unit features of q negative texts from outside the batch, shape (q, d)."""

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Added to the image-to-text logits of ``rows``, shape (n_rows, b): 0 on the diagonal, -inf = masked."""

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Added to the text-to-image logits of the texts ``rows``, shape (n_rows, b), as in `log_weight`."""

    def extra_log_weight(self, rows: slice) -> torch.Tensor:
        """Added to the logits of the images ``rows`` with `extra_text`, shape (n_rows, q); -inf = masked."""

    def logged(self) -> dict[str, torch.Tensor | float]:
        """Scalars for the history, with the same names at every step; called after the loss was computed."""


class Negatives(Protocol):
    """Decides how much each negative of a batch counts."""

    def adjust(self, step: Step) -> Adjustment | None:
        """The adjustment of this batch; None = every negative counts 1."""

    def tables(self) -> dict[str, pa.Table]:
        """Tables for the run folder at the end of the training, by the stem of their file name."""

    def state(self) -> dict[str, Any]:
        """What is remembered between steps, in types that torch loads safely."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""


class Augmentation(Protocol):
    """Changes what the towers compute while a training batch is encoded.

    Its random numbers must come from torch's global generator alone, which is seeded before every encoding.
    """

    def applied(self, module: nn.Module, position: int, progress: float) -> AbstractContextManager:
        """A context in which ``module`` encodes the batch of step ``position``."""


class Term(nn.Module):
    """A loss beside the contrastive one; abstract.

    Its parameters are trained with it, at a learning rate of their own; parameters and buffers are saved and restored.
    """

    weight: float
    """Factor of the loss, above 0."""
    lr: float
    """Highest learning rate of its own parameters; warm-up and decay are those of the training."""

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The loss, before `weight`, and scalars for the history, with the same names at every step."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write what is useful after the training into the run folder; by default nothing."""


BatchMaker = Callable[[np.ndarray, int], Batches]
"""Makes batches from the copies of each pair, shape (n,), and the step before which batches are asked for."""


@dataclass(frozen=True)
class MethodParts:
    """The parts that one method contributes; what it leaves alone is None or empty."""

    make_batches: BatchMaker | None = None
    """How batches are dealt from the copies of the pairs."""
    arrange_batches: Callable[[BatchMaker], Batches] | None = None
    """How the batches of the whole training are put together, with the `BatchMaker` in force."""
    augmentation: Augmentation | None = None
    negatives: Negatives | None = None
    terms: list[Term] = field(default_factory=list)


@dataclass(frozen=True)
class Parts:
    """The parts of one training."""

    batches: Batches
    augmentation: Augmentation | None = None
    negatives: Negatives | None = None
    terms: list[Term] = field(default_factory=list)
