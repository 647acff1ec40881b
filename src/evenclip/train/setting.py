"""What the parts of a training are built from."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from evenclip.model.clip import Clip
from evenclip.train.clock import Clock
from evenclip.train.options import TrainOptions
from evenclip.train.pairs import Pairs


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
