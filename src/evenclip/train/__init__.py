"""The training stage: a CLIP model on weighted image-text pairs, resumable at any step.

Reads a data folder and `weights.parquet` of `evenclip balance`; writes `model.safetensors`, `model.json`,
`open_clip_config.json`, `history.parquet` and `manifest.json`. Command: `evenclip train`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evenclip.train.options import TrainOptions

Watch = Callable[[Mapping[str, Any]], None]
"""Is called with each row of the history as soon as it is known."""

__all__ = ["TrainOptions", "train_model", "train_models"]


def train_model(data: Path, weights: Path, out: Path, seed: int, state: Path, options: TrainOptions,
                labels: Path | None = None, graph: Path | None = None,
                watch: Watch | None = None, features: Path | None = None) -> None:  # fmt: skip
    """Train one model; see `evenclip.train.trainer.train_models`."""
    train_models(data, weights, {seed: out}, state, options, labels, graph, watch, features)


def train_models(data: Path, weights: Path, outs: Mapping[int, Path], state: Path, options: TrainOptions,
                 labels: Path | None = None, graph: Path | None = None,
                 watch: Watch | None = None, features: Path | None = None) -> None:  # fmt: skip
    """Train a model with each seed; see `evenclip.train.trainer.train_models`, imported late for torch."""
    from evenclip.train.trainer import train_models as train

    train(data, weights, outs, state, options, labels, graph, watch, features)
