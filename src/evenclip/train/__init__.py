"""The training stage: a CLIP model on weighted image-text pairs, resumable at any step.

Reads a data folder and `weights.parquet` of `evenclip balance`; writes `model.safetensors`, `model.json`,
`open_clip_config.json`, `history.parquet` and `manifest.json`. Command: `evenclip train`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evenclip.train.options import TrainOptions

__all__ = ["TrainOptions", "train_model"]


def train_model(data: Path, weights: Path, out: Path, seed: int, state: Path, options: TrainOptions,
                labels: Path | None = None, graph: Path | None = None,
                watch: Callable[[Mapping[str, Any]], None] | None = None) -> None:  # fmt: skip
    """Train one model; see `evenclip.train.trainer.train_model`, imported here so that options load without torch."""
    from evenclip.train.trainer import train_model as train

    train(data, weights, out, seed, state, options, labels, graph, watch)
