"""Random resized crops of a whole batch at once, the one augmentation that leaves "left of" true."""

import math

import numpy as np
import torch
from torch.nn import functional as F

LOG_RATIO = math.log(4 / 3)  # aspect ratios 3/4 to 4/3, as torchvision's RandomResizedCrop


def draw_crops(n: int, scale_min: float, rng: np.random.Generator) -> np.ndarray:
    """Draw ``n`` crops that keep at least ``scale_min``, in (0, 1], of the area: affine maps, float32, (n, 2, 3)."""
    scale = rng.uniform(scale_min, 1, n)
    ratio = np.exp(rng.uniform(-LOG_RATIO, LOG_RATIO, n) / 2)
    sides = np.minimum(np.sqrt(scale)[:, None] * np.stack([ratio, 1 / ratio], 1), 1)  # (n, 2): width, height
    centres = (1 - sides) * rng.uniform(-1, 1, (n, 2))  # in [-1, 1], where the whole image spans [-1, 1]
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = sides[:, 0], sides[:, 1]
    theta[:, :, 2] = centres
    return theta


def crop(images: torch.Tensor, crops: np.ndarray) -> torch.Tensor:
    """Crop each image, shape (b, 3, h, w), float, by its map of `draw_crops`, back to its size (bilinear)."""
    theta = torch.from_numpy(crops).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
