"""From JPEG bytes to a model's input, exactly as in open_clip's evaluation preprocessing.

The geometric part (resize, crop) is done once and kept as 8-bit pixels; the arithmetic part, `normalise`, per batch.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from evenclip.errors import InputError
from evenclip.threads import map_in_order

BLOCK = 16  # images that a thread decodes at a time: a single image is too small a task
AHEAD = 256  # images decoded in advance at most, so that the JPEG bytes of a large set never fill the memory


def input_size(preprocess_cfg: dict[str, Any]) -> tuple[int, int]:
    """Height and width of a model's input in pixels."""
    size = preprocess_cfg["size"]
    return (size, size) if isinstance(size, int) else tuple(size)


def pixel_transform(preprocess_cfg: dict[str, Any]) -> Callable[[Image.Image], Image.Image]:
    """The part of open_clip's evaluation preprocessing that works on 8-bit pixels: resize, crop, RGB."""
    settings = {key: preprocess_cfg[key] for key in ("mean", "std", "resize_mode", "interpolation", "fill_color")}
    whole = open_clip.image_transform(preprocess_cfg["size"], is_train=False, **settings)
    return Compose([step for step in whole.transforms if not isinstance(step, ToTensor | Normalize)])


def decode_images(
    images: Iterable[tuple[str, bytes]], preprocess_cfg: dict[str, Any], where: str, threads: int = 1
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode (key, JPEG bytes) in order.

    Yields
    ------
    (str, ndarray of shape (3, h, w), uint8)
        The key, and RGB pixels at the model's size.

    Raises
    ------
    InputError
        A damaged image; the message names ``where`` and its key.
    """
    transform = pixel_transform(preprocess_cfg)

    def decode(block: list[tuple[str, bytes]]) -> list[tuple[str, np.ndarray]]:
        return [(key, decode_image(content, transform, f"{where}, key {key}")) for key, content in block]

    iterator = iter(images)
    blocks = iter(lambda: list(islice(iterator, BLOCK)), [])
    for decoded in map_in_order(decode, blocks, threads, AHEAD // BLOCK):
        yield from decoded


def decode_image(content: bytes, transform: Callable[[Image.Image], Image.Image], where: str) -> np.ndarray:
    """RGB pixels, uint8, shape (3, h, w), of JPEG bytes after `pixel_transform`; `InputError` if they are damaged."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(transform(image)).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"damaged image ({error})", where, "make the data folder again") from None


def normalise(pixels: torch.Tensor, preprocess_cfg: dict[str, Any]) -> torch.Tensor:
    """Pixels, uint8, shape (b, 3, h, w), as the model's float32 input: (x / 255 - mean) / std by channel.

    Trunk features, which stand in for pixels where projections are trained, pass as they are.
    """
    if pixels.dtype != torch.uint8:
        return pixels
    mean, std = (torch.tensor(preprocess_cfg[key], device=pixels.device).view(3, 1, 1) for key in ("mean", "std"))
    return pixels.float().div_(255).sub_(mean).div_(std)
