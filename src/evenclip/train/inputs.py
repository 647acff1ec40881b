"""What the towers see of this process's share of a batch: images made when they are needed, tokens.

Pixels stay 8-bit on the CPU until their micro batch is encoded, so that a large batch does not fill a small GPU.
"""

from dataclasses import dataclass

import numpy as np
import torch

from evenclip.model.images import normalise
from evenclip.train.crop import crop


@dataclass(frozen=True)
class Inputs:
    """``pixels``: uint8, shape (n, 3, h, w), on the CPU; ``tokens``: int64, shape (n, l), on the device.

    ``crops``: affine maps, shape (n, 2, 3), of `draw_crops`; None = images as they are.
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
