"""The training set: the pairs that are shown, their tokens and pixels, and the crops and inputs of a batch."""

import math
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from evenclip.data.shards import iterate_images, locate_images, read_pairs
from evenclip.errors import InputError
from evenclip.features.table import FeatureTable
from evenclip.model.clip import Clip
from evenclip.model.images import decode_images, input_size, normalise
from evenclip.progress import track
from evenclip.train.batches import Batch
from evenclip.train.copies import read_copies
from evenclip.train.pixels import Pixels, PixelsInMemory, PixelsInShards, TrunkFeatures

LOG_RATIO = math.log(4 / 3)  # aspect ratios from 3/4 to 4/3, as in torchvision's RandomResizedCrop


def draw_crops(n: int, scale_min: float, rng: np.random.Generator) -> np.ndarray:
    """Draw ``n`` crops that keep at least ``scale_min``, in (0, 1], of the area, as affine maps, float32, (n, 2, 3)."""
    scale = rng.uniform(scale_min, 1, n)
    ratio = np.exp(rng.uniform(-LOG_RATIO, LOG_RATIO, n) / 2)
    sides = np.minimum(np.sqrt(scale)[:, None] * np.stack([ratio, 1 / ratio], 1), 1)  # (n, 2): width, height
    centres = (1 - sides) * rng.uniform(-1, 1, (n, 2))  # the whole image spans [-1, 1]
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = sides[:, 0], sides[:, 1]
    theta[:, :, 2] = centres
    return theta


def crop(images: torch.Tensor, crops: np.ndarray) -> torch.Tensor:
    """Crop each image, shape (b, 3, h, w), float, by its map from `draw_crops`, and resize it bilinearly."""
    theta = torch.from_numpy(crops).to(images.device)
    # no map turns an image: columns and rows are moved apart, at half the cost of `affine_grid`, a product of matrices
    x, y = (_along(theta[:, axis, axis], theta[:, axis, 2], images.shape[3 - axis]) for axis in (0, 1))
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=3)  # (b, h, w, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _along(scale: torch.Tensor, shift: torch.Tensor, n: int) -> torch.Tensor:
    """The middles of ``n`` pixels that span [-1, 1], scaled and shifted by ``scale`` and ``shift``, shape (b, n)."""
    middles = (2 * torch.arange(n, dtype=scale.dtype, device=scale.device) + 1) / n - 1
    return torch.addcmul(shift[:, None], scale[:, None], middles)


@dataclass(frozen=True)
class Inputs:
    """Inputs of n pairs: ``pixels``, uint8, shape (n, 3, h, w), on the CPU; ``tokens``, int64, (n, l), on the device.

    ``crops``: affine maps from `draw_crops`, shape (n, 2, 3); None = whole images.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    crops: np.ndarray | None
    preprocess_cfg: dict

    def images(self, rows: slice = slice(None)) -> torch.Tensor:
        """Normalised and cropped images of ``rows``, float32, shape (n_rows, 3, h, w), on the tokens' device."""
        pixels = self.pixels[rows].to(self.tokens.device, non_blocking=True)
        images = normalise(pixels, self.preprocess_cfg)
        return images if self.crops is None else crop(images, self.crops[rows])


@dataclass(frozen=True)
class Pairs:
    """n image-text pairs with their m different captions.

    ``keys``, shape (n,), str; ``copies``, (n,), int; ``first_copies``: the copies in a first stage, if there is one;
    at least one of the two is positive; ``pixels``: the images; ``tokens``, (m, context), int64; pair i has the
    captions ``captions[starts[i]:starts[i + 1]]``, rows of ``tokens``; ``twins``, (n,), int: the row of each pair's
    twin, -1 = it has none, or None if twins are not asked for.
    """

    keys: np.ndarray
    copies: np.ndarray
    pixels: Pixels
    tokens: torch.Tensor
    captions: np.ndarray
    starts: np.ndarray
    n_without_caption: int
    first_copies: np.ndarray | None = None
    twins: np.ndarray | None = None

    def captions_of(self, batch: Batch) -> np.ndarray:
        """The caption that each pair of ``batch`` is shown with, as a row of ``tokens``, shape (b,)."""
        first, end = self.starts[batch.rows], self.starts[batch.rows + 1]
        return self.captions[first + (batch.draws * (end - first)).astype(np.int64)]


def load_pairs(
    data: Path,
    weights: Path,
    clip: Clip,
    threads: int,
    cache_mb: float = inf,
    first: Path | None = None,
    twins: str | None = None,
    features: FeatureTable | None = None,
) -> Pairs:
    """Read the pairs that ``weights``, or the weights of a ``first`` stage, show at least once.

    Images stay in the shards if they need more than ``cache_mb``; cached trunk ``features`` replace them. Pairs without
    a caption are left out and counted. ``twins`` names the column whose value two twins share.

    Raises
    ------
    InputError
        The weights are not those of the data (`evenclip.train.copies`) or show no pair, or an image is damaged; the
        data lacks the column ``twins``, or more than two pairs share a value of it.
    """
    table = read_pairs(data, ["key", "captions", *([twins] if twins else [])])
    keys, captions = np.array(table["key"].to_pylist()), table["captions"].to_pylist()
    copies = read_copies(weights, keys, data)
    first_copies = read_copies(first, keys, data) if first else np.zeros_like(copies)
    is_shown = (copies > 0) | (first_copies > 0)
    has_caption = np.array([bool(texts) for texts in captions])
    rows = np.flatnonzero(is_shown & has_caption)
    if not len(rows):
        raise InputError("no pair with a caption is shown", str(weights), "see the report of `evenclip balance`")
    texts = [captions[i] for i in rows]
    shown_keys = keys[rows].tolist()
    if features:
        pixels: Pixels = TrunkFeatures(features, shown_keys)
    else:
        pixels = _open_pixels(data, shown_keys, clip.preprocess_cfg, threads, cache_mb)
    distinct = sorted({text for own in texts for text in own})
    index = {text: row for row, text in enumerate(distinct)}
    return Pairs(
        keys=keys[rows],
        copies=copies[rows],
        pixels=pixels,
        tokens=clip.tokenizer(distinct),
        captions=np.array([index[text] for own in texts for text in own]),
        starts=np.cumsum([0, *(len(own) for own in texts)]),
        n_without_caption=int((is_shown & ~has_caption).sum()),
        first_copies=first_copies[rows] if first else None,
        twins=_twin_rows(table[twins].take(rows).to_pylist(), f"{data}, column {twins}") if twins else None,
    )


def _twin_rows(values: list[str], where: str) -> np.ndarray:
    """The row of each pair's twin, shape (n,): of the other pair with its value; -1 = none, as for an empty value."""
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value:
            rows.setdefault(value, []).append(row)
    twins = np.full(len(values), -1)
    for value, couple in rows.items():
        if len(couple) > 2:
            raise InputError(f"{len(couple)} pairs share the value '{value}'", where, "give it to two pairs at most")
        if len(couple) == 2:
            twins[couple] = couple[::-1]
    return twins


def _open_pixels(data: Path, keys: list[str], preprocess_cfg: dict[str, Any], threads: int, cache_mb: float) -> Pixels:
    height, width = input_size(preprocess_cfg)
    row_of = {key: row for row, key in enumerate(keys)}
    if len(keys) * 3 * height * width / 2**20 > cache_mb:
        locations = {
            location.key: location for location in track(locate_images(data, row_of), "find images", len(keys))
        }
        return PixelsInShards([locations[key] for key in keys], preprocess_cfg, threads)
    decoded = decode_images(iterate_images(data, row_of), preprocess_cfg, str(data), threads)
    pixels = np.empty((len(keys), 3, height, width), np.uint8)  # filled whole: every key is read, or an error raised
    for key, image in track(decoded, "decode images", len(keys)):
        pixels[row_of[key]] = image
    return PixelsInMemory(pixels)
