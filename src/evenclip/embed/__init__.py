"""The embedding stage: every evaluation set is embedded once by a model.

Reads a model, data folders and prompt files; writes one `.npz` per set and `manifest.json`.
Command: `evenclip embed`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evenclip.embed.options import EmbedOptions, EmbedSet

if TYPE_CHECKING:
    from evenclip.data.shards import Part

__all__ = ["EmbedOptions", "EmbedSet", "embed_sets"]


def embed_sets(
    models: Mapping[str, Path],
    sets: list[EmbedSet],
    options: EmbedOptions,
    features: Mapping[str, Path] | None = None,
    parts: Mapping[str, "Part"] | None = None,
) -> None:
    """Embed ``sets``; see `evenclip.embed.run.embed_sets`, imported here so that options load without torch."""
    from evenclip.embed.run import embed_sets as embed

    embed(models, sets, options, features, parts)
