"""Where a box of an image lies in what the model sees of it, after open_clip's resizing and cropping."""

from typing import Any

import numpy as np

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The box that is the whole image: left, top, right, bottom in shares of its sides."""


def boxes_in_view(
    boxes: np.ndarray, width: np.ndarray, height: np.ndarray, preprocess_cfg: dict[str, Any]
) -> np.ndarray:
    """Boxes in shares of the model's input.

    Parameters
    ----------
    boxes : ndarray of shape (n, 4)
        x, y, width, height in pixels of the image.
    width, height : ndarray of shape (n,)
        Of each box's image, in pixels.
    preprocess_cfg : dict
        ``size`` (height, width) and ``resize_mode``: `shortest` (resize, then crop the middle), `longest` (resize, then
        pad) or `squash`.

    Returns
    -------
    ndarray of shape (n, 4), float32
        Left, top, right, bottom in [0, 1]; left = right or top = bottom where the view does not hold the box.
    """
    size = preprocess_cfg["size"]
    view = np.array([size[1], size[0]] if isinstance(size, list | tuple) else [size, size], float)  # width, height
    sides = np.stack([width, height], axis=1).astype(float)  # (n, 2)
    scale = view / sides
    if preprocess_cfg["resize_mode"] == "shortest":
        scale = scale.max(axis=1, keepdims=True)
    elif preprocess_cfg["resize_mode"] == "longest":
        scale = scale.min(axis=1, keepdims=True)
    corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)  # (n, 2 corners, 2)
    offset = (view - sides * scale) / 2  # negative where cropped, positive where padded
    seen = (corners * scale[:, None] + offset[:, None]) / view
    return np.clip(seen, 0, 1).reshape(-1, 4).astype(np.float32)
