"""The features stage: features of a model's frozen trunks for a data set, computed once for all trainings.

Reads a model, a data folder and prompt files; writes `image.npy`, `keys.parquet`, `text.npy`, `texts.parquet` and
`manifest.json`. Training and embedding of projections read them. Command: `evenclip features`.
"""

from pathlib import Path

from evenclip.features.options import FeatureOptions

__all__ = ["FeatureOptions", "compute_features"]


def compute_features(
    model: str, data: Path, out: Path, options: FeatureOptions, prompts: list[Path], state: Path = Path(".state")
) -> None:
    """Compute trunk features; see `evenclip.features.run.compute_features`, imported here so that options load fast."""
    from evenclip.features.run import compute_features as compute

    compute(model, data, out, options, prompts, state)
