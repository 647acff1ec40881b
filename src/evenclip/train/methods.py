"""From options to the parts of a training: the one place that knows all methods (see `evenclip.train.step`)."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from evenclip.model.clip import Clip
from evenclip.train.batches import Batches, WeightedBatches
from evenclip.train.clock import Clock
from evenclip.train.duplicates import Duplicates, caption_kinds
from evenclip.train.options import TrainOptions
from evenclip.train.pairs import Pairs
from evenclip.train.perceived import Audited, read_perceived
from evenclip.train.simclip import SimClipBatches
from evenclip.train.step import Augmentation, Negatives, Term


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
class Parts:
    """The parts of one training."""

    batches: Batches
    augmentation: Augmentation | None = None
    negatives: Negatives | None = None
    terms: list[Term] = field(default_factory=list)


def make_parts(setting: Setting) -> Parts:
    """Build the parts whose options are on."""
    simclip = setting.options.simclip
    batches = _batches(setting)
    perceived = read_perceived(setting.labels, setting.pairs.keys) if setting.labels else None
    return Parts(
        batches=Audited(batches, perceived) if perceived else batches,
        negatives=Duplicates(setting.pairs, simclip.duplicate_similarity) if simclip else None,
    )


def _batches(setting: Setting) -> Batches:
    options, pairs = setting.options, setting.pairs
    if options.simclip:
        by_text = options.simclip.modality == "text"
        kind = caption_kinds(pairs)[pairs.captions[pairs.starts[:-1]]] if by_text else np.arange(len(pairs.keys))
        return SimClipBatches(pairs.copies, kind, options.batch_size, setting.seed, setting.clock, options.simclip)
    return WeightedBatches(pairs.copies, options.batch_size, setting.seed)
