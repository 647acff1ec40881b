"""The training set in memory: pixels decoded once, captions tokenised once; only pairs that are shown are kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.model.clip import Clip
from evenclip.model.images import decode_images
from evenclip.progress import track
from evenclip.records import check_unique_keys, read_table
from evenclip.train.batches import Batch


@dataclass(frozen=True)
class Pairs:
    """n image-text pairs with their m different captions.

    ``keys`` (n,) str; ``copies`` (n,) int, at least 1; ``pixels`` (n, 3, h, w) uint8; ``tokens`` (m, context) int64;
    pair i has the captions ``captions[starts[i]:starts[i + 1]]``, rows of ``tokens``.
    """

    keys: np.ndarray
    copies: np.ndarray
    pixels: torch.Tensor
    tokens: torch.Tensor
    captions: np.ndarray
    starts: np.ndarray
    n_without_caption: int

    def captions_of(self, batch: Batch) -> np.ndarray:
        """The row of ``tokens`` that each pair of ``batch`` is shown with, shape (b,)."""
        first, end = self.starts[batch.rows], self.starts[batch.rows + 1]
        return self.captions[first + (batch.draws * (end - first)).astype(np.int64)]


def load_pairs(data: Path, weights: Path, clip: Clip, threads: int) -> Pairs:
    """Read the pairs that ``weights`` shows at least once.

    A pair without a caption cannot be trained on; it is left out and counted.

    Raises
    ------
    InputError
        ``weights`` names a key that the data lacks, shows no pair at all, or an image is damaged.
    """
    table = read_pairs(data, ["key", "captions"])
    keys, captions = np.array(table["key"].to_pylist()), table["captions"].to_pylist()
    copies = _copies(keys, weights, str(data))
    has_caption = np.array([bool(texts) for texts in captions])
    shown = np.flatnonzero((copies > 0) & has_caption)
    if not len(shown):
        raise InputError("no pair with a caption is shown", str(weights), "see the report of `evenclip balance`")
    texts = [captions[i] for i in shown]
    distinct = sorted({text for several in texts for text in several})
    index = {text: row for row, text in enumerate(distinct)}
    return Pairs(
        keys=keys[shown],
        copies=copies[shown],
        pixels=_read_pixels(data, set(keys[shown]), clip, threads),
        tokens=clip.tokenizer(distinct),
        captions=np.array([index[text] for several in texts for text in several]),
        starts=np.cumsum([0, *(len(several) for several in texts)]),
        n_without_caption=int(((copies > 0) & ~has_caption).sum()),
    )


def _copies(keys: np.ndarray, weights: Path, data: str) -> np.ndarray:
    """Copies of each of ``keys`` per nominal epoch; 0 for those that ``weights`` lacks."""
    table = read_table(weights, ["key", "copies"])
    check_unique_keys(table["key"], str(weights))
    row = {key: i for i, key in enumerate(keys)}
    copies = np.zeros(len(keys), np.int64)
    for key, count in zip(table["key"].to_pylist(), table["copies"].to_pylist(), strict=True):
        if key not in row:
            raise InputError(f"the key '{key}' is not in {data}", str(weights), "balance the labels of this data")
        copies[row[key]] = count
    return copies


def _read_pixels(data: Path, shown: set[str], clip: Clip, threads: int) -> torch.Tensor:
    images = ((key, content) for key, content in iterate_images(data) if key in shown)
    decoded = decode_images(images, clip.preprocess_cfg, str(data), threads)
    pixels = None
    for i, image in enumerate(track(decoded, "decode images", len(shown))):
        if pixels is None:
            pixels = np.empty((len(shown), *image.shape), np.uint8)
        pixels[i] = image
    return torch.from_numpy(pixels)
