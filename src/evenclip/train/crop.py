"""Random resized crops of a whole batch at once, the one augmentation that leaves "left of" true."""

import math

import numpy as np
import torch
from torch.nn import functional as F

LOG_RATIO = math.log(4 / 3)  # aspect ratios 3/4 to 4/3, as torchvision's RandomResizedCrop


def random_crops(images: torch.Tensor, scale_min: float, rng: np.random.Generator) -> torch.Tensor:
    """Crop each image at random and bring it back to its size (bilinear).

    Parameters
    ----------
    images : Tensor of shape (b, 3, h, w), float
    scale_min : float
        Smallest share of the area that is kept, in (0, 1].
    rng : numpy Generator
    """
    n = len(images)
    scale = rng.uniform(scale_min, 1, n)
    ratio = np.exp(rng.uniform(-LOG_RATIO, LOG_RATIO, n) / 2)
    sides = np.minimum(np.sqrt(scale)[:, None] * np.stack([ratio, 1 / ratio], 1), 1)  # (b, 2): width, height
    centres = (1 - sides) * rng.uniform(-1, 1, (n, 2))  # in [-1, 1], where the whole image spans [-1, 1]
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = sides[:, 0], sides[:, 1]
    theta[:, :, 2] = centres
    grid = F.affine_grid(torch.from_numpy(theta).to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
