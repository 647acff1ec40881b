"""Token-level features of both towers of any open_clip model, and the position of image boxes among them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.ops import roi_align

from evenclip.errors import InputError
from evenclip.model.images import input_size
from evenclip.model.towers import has_causal_text, text_lengths

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The box of the whole image: left, top, right, bottom in shares of its sides."""


def boxes_in_view(
    boxes: np.ndarray, width: np.ndarray, height: np.ndarray, preprocess_cfg: dict[str, Any]
) -> np.ndarray:
    """Convert boxes from pixels of the image to shares of the model's input.

    Parameters
    ----------
    boxes : ndarray of shape (n, 4)
        x, y, width, height in pixels of the image.
    width, height : ndarray of shape (n,)
        Size of each box's image in pixels.
    preprocess_cfg : dict
        ``size`` (height, width) and ``resize_mode``: `shortest` (resize, then crop the middle), `longest` (resize, then
        pad) or `squash`.

    Returns
    -------
    ndarray of shape (n, 4), float32
        Left, top, right, bottom in [0, 1]; left = right or top = bottom if the box was cropped away.
    """
    view = np.array(input_size(preprocess_cfg)[::-1], float)  # width, height
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


@dataclass(frozen=True)
class Grid:
    """Feature maps of n images: ``grid``, shape (n, w, rows, columns), and ``whole``, (n, w), the class token."""

    grid: torch.Tensor
    whole: torch.Tensor


class TokenTap:
    """Keeps the token-level features of the last batch that the two towers encoded with gradients.

    A batch is encoded before the losses are computed, so a loss finds its tokens here. Encoding without gradients, as
    for embedding a data set, keeps nothing.

    Parameters
    ----------
    module : nn.Module
        An open_clip model whose image tower is a vision transformer, a (timm) convolutional network or a timm vision
        transformer, and whose text tower is open_clip's own or Hugging Face's.
    always : bool
        Keep features of calls without gradients too.

    Attributes
    ----------
    image : Grid or None
    text : Tensor of shape (n, l, w), or None

    Raises
    ------
    InputError
        A tower is of another kind.
    """

    def __init__(self, module: nn.Module, always: bool = False):
        self.image: Grid | None = None
        self.text: torch.Tensor | None = None
        self._always = always
        image_layer, self._to_grid = _image_layer(module)
        hooks = ((image_layer, self._keep_image), (_text_layer(module), self._keep_text))
        self._handles = [layer.register_forward_hook(hook) for layer, hook in hooks]

    def clear(self) -> None:
        """Drop the kept features, and with them their autograd graph."""
        self.image = self.text = None

    def remove(self) -> None:
        """Remove the hooks from the model."""
        for handle in self._handles:
            handle.remove()

    def _keep_image(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if self._always or torch.is_grad_enabled():
            self.image = self._to_grid(output)

    def _keep_text(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self._always or torch.is_grad_enabled():
            self.text = getattr(output, "last_hidden_state", output)


def last_text_tokens(
    module: nn.Module, tokens: torch.Tensor, features: torch.Tensor, n_kept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The features of the last tokens of each text, so that a long text does not lengthen the whole batch.

    With causal attention the end-of-text token has seen the whole text; start-of-text has seen nothing and is left out.

    Parameters
    ----------
    module : nn.Module
    tokens : Tensor of int, shape (n, l)
    features : Tensor of shape (n, l', w)
        Kept by `TokenTap`; l' < l if the text tower got trimmed tokens.
    n_kept : int
        Largest number of tokens per text.

    Returns
    -------
    features : Tensor of shape (n, k, w)
        k is the length of the longest text, at most ``n_kept``; each text starts in the first column.
    is_shown : Tensor of bool, shape (n, k)
        False for padding.
    """
    n_special = int(has_causal_text(module))
    n_real = text_lengths(module, tokens).to(features.device) - n_special
    k = min(n_kept, int(n_real.max()))
    position = torch.arange(k, device=features.device)
    first = n_special + (n_real - k).clamp(min=0)
    index = (first[:, None] + position).clamp(max=features.shape[1] - 1)
    kept = features.gather(1, index[:, :, None].expand(-1, -1, features.shape[2]))
    return kept, position < n_real.clamp(max=k)[:, None]


def region_tokens(grid: Grid, image: torch.Tensor, boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Each region's part of its image's feature map, at one size, behind the token that sums up the image.

    The map is pooled within the box (RoI align, He et al. 2017), so a region costs ``side`` ** 2 tokens whatever its
    size, is never encoded apart, and knows where in the image it lies, which a crop would not.

    Parameters
    ----------
    grid : Grid
    image : Tensor of int, shape (m,)
        The region's row in ``grid``.
    boxes : Tensor of shape (m, 4)
        Left, top, right, bottom in shares of the image's sides.
    side : int
        Rows and columns of what is returned.

    Returns
    -------
    Tensor of shape (m, 1 + side ** 2, w)
    """
    rows, columns = grid.grid.shape[2:]
    scaled = boxes * torch.tensor([columns, rows, columns, rows], dtype=boxes.dtype, device=boxes.device)
    numbered = torch.cat([image[:, None].to(boxes.dtype), scaled], dim=1)
    pooled = roi_align(grid.grid.float(), numbered, side, sampling_ratio=2, aligned=True)  # (m, w, side, side)
    return torch.cat([grid.whole[image].float()[:, None], pooled.flatten(2).transpose(1, 2)], dim=1)


def token_widths(module: nn.Module, preprocess_cfg: dict[str, Any]) -> tuple[int, int]:
    """Widths of the image and text tokens, found by encoding a black image and an empty text once."""
    tap = TokenTap(module, always=True)
    device = next(module.parameters()).device
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval().encode_image(torch.zeros(1, 3, *input_size(preprocess_cfg), device=device))
            module.encode_text(torch.zeros(1, module.context_length, dtype=torch.long, device=device))
        return tap.image.grid.shape[1], tap.text.shape[2]
    finally:
        tap.remove()
        module.train(was_training)


def _image_layer(module: nn.Module) -> tuple[nn.Module, Callable[[torch.Tensor], Grid]]:
    visual = module.visual
    if hasattr(visual, "transformer"):  # open_clip's VisionTransformer: a class token, then the patches
        return visual.transformer, lambda tokens: _from_sequence(tokens, visual.grid_size, n_prefix=1)
    trunk = getattr(visual, "trunk", visual)  # open_clip wraps timm's models
    if hasattr(trunk, "patch_embed") and hasattr(trunk, "num_prefix_tokens"):
        size, n_prefix = trunk.patch_embed.grid_size, trunk.num_prefix_tokens
        return trunk.norm, lambda tokens: _from_sequence(tokens, size, n_prefix)
    if (layer := feature_map_layer(module)) is not None:
        return layer, lambda grid: Grid(grid, grid.mean(dim=(2, 3)))
    raise InputError(
        f"image tower of kind {type(trunk).__name__}", "train.model", "take a ViT, ConvNeXt, ResNet or EfficientNet"
    )


def feature_map_layer(module: nn.Module) -> nn.Module | None:
    """The layer whose output, shape (b, w, rows, columns), is the last feature map of a convolutional image tower."""
    trunk = getattr(module.visual, "trunk", module.visual)
    names = ("stages", "layer4", "bn2")  # timm's ConvNeXt and its like; ResNets; EfficientNets
    return next((getattr(trunk, name) for name in names if hasattr(trunk, name)), None)


def _text_layer(module: nn.Module) -> nn.Module:
    text = getattr(module, "text", module)
    if not hasattr(text, "transformer"):
        raise InputError(f"text tower of kind {type(text).__name__}", "train.model", "take a text transformer")
    return text.transformer


def _from_sequence(tokens: torch.Tensor, size: tuple[int, int], n_prefix: int) -> Grid:
    """Patches (n, l, w) as a map; a model without class token has the mean of its patches in its place."""
    if tokens.shape[1] != n_prefix + size[0] * size[1]:
        raise InputError("the image tower drops patches", "train.model", "set patch_dropout to 0 for knowledge")
    grid = tokens[:, n_prefix:].transpose(1, 2).unflatten(2, tuple(size))
    return Grid(grid, tokens[:, 0] if n_prefix else tokens[:, n_prefix:].mean(dim=1))
