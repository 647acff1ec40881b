"""Contrastive losses in chunks of rows, which never hold the matrix of all similarities.

The similarities of a batch of 32,768 take 4.3 GB in float32, and plain autograd keeps several copies. Here each
chunk's gradients are computed while its part of the matrix is in memory; between forward and backward only these are
kept, and they are as small as the features.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from evenclip.train.plugin import Adjustment


class CachedFeatures:
    """Image and text features of some rows, encoded in parts, with the way back to the parameters (GradCache).

    Source: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup".

    Parameters
    ----------
    encode : callable
        Image and text features, shape (n_rows, d), of a slice of rows; equal calls must draw equal random numbers.
    n_rows, n_at_once : int
        Number of rows, and how many are encoded together.
    """

    def __init__(self, encode: Callable[[slice], tuple[torch.Tensor, torch.Tensor]], n_rows: int, n_at_once: int):
        self._encode = encode
        self._parts = [slice(start, min(start + n_at_once, n_rows)) for start in range(0, n_rows, n_at_once)]
        if len(self._parts) == 1:
            self.image, self.text = encode(self._parts[0])
            return
        with torch.no_grad():
            encoded = [encode(part) for part in self._parts]
        self.image, self.text = (torch.cat(features).requires_grad_() for features in zip(*encoded, strict=True))

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of ``loss`` to the parameters."""
        loss.backward()
        if len(self._parts) == 1:
            return
        for part in self._parts:
            features = zip(self._encode(part), (self.image.grad[part], self.text.grad[part]), strict=True)
            with_graph = [(feature, gradient) for feature, gradient in features if feature.requires_grad]
            torch.autograd.backward(*zip(*with_graph, strict=True))  # a frozen tower has no graph


CELLS = 1 << 24  # similarities in memory at a time: 64 MB in float32


def contrastive_loss(
    image: torch.Tensor,
    text: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor | None = None,
    objective: Literal["clip", "siglip"] = "clip",
    adjustment: Adjustment | None = None,
    local_rows: slice | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """The contrastive loss of a batch, as a mean over its rows; differentiable once.

    ``"clip"``: the mean of the cross-entropies of both directions (Radford et al. 2021, figure 3). ``"siglip"``: the
    logistic loss of every pair of image and text, summed over a row (Zhai et al. 2023, equation 1).

    Parameters
    ----------
    image, text : Tensor of shape (b, d)
        Unit features; row i of one belongs to row i of the other.
    logit_scale, logit_bias : Tensor of shape ()
        Logits are ``logit_scale * image @ text.T``, plus ``logit_bias`` for ``"siglip"``.
    objective : {"clip", "siglip"}
    adjustment : Adjustment, optional
        Added to the logits of negatives, in both objectives. With ``"siglip"``, which has one logit for both
        directions, each direction's adjusted loss then counts half.
    local_rows : slice, optional
        The rows whose mean is taken, by default all. The mean over disjoint slices of equal size is the whole loss.
    chunk : int, optional
        Rows at a time; by default as many as have `CELLS` similarities.
    """
    n_rows = len(image)
    local_rows = local_rows or slice(0, n_rows)
    extra = adjustment.extra_text if adjustment else None
    width = n_rows + (0 if extra is None else len(extra))
    size = chunk or max(1, CELLS // width)
    chunks = [
        slice(start, min(start + size, local_rows.stop)) for start in range(local_rows.start, local_rows.stop, size)
    ]
    loss_of_rows = {"clip": _clip_rows, "siglip": _siglip_rows}[objective]

    def part(rows: slice, *tensors: torch.Tensor | None) -> torch.Tensor:
        return loss_of_rows(rows, adjustment, *tensors) / (local_rows.stop - local_rows.start)

    bias = logit_bias if objective == "siglip" else None
    return _InChunks.apply(part, chunks, image, text, logit_scale, bias, extra)


class _InChunks(torch.autograd.Function):
    """The sum of ``part(rows, *tensors)`` over chunks of rows."""

    @staticmethod
    def forward(ctx: Any, part: Callable, chunks: list[slice], *tensors: torch.Tensor | None) -> torch.Tensor:
        leaves = [None if t is None else t.detach().requires_grad_(t.requires_grad) for t in tensors]
        wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        total, gradients = tensors[0].new_zeros(()), [torch.zeros_like(leaf) for leaf in wanted]
        for rows in chunks:
            with torch.enable_grad():
                loss = part(rows, *leaves)
            total += loss.detach()
            if wanted:
                for gradient, added in zip(gradients, torch.autograd.grad(loss, wanted), strict=True):
                    gradient += added
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = iter(ctx.saved_tensors)
        return None, None, *(upstream * next(gradients) if needed else None for needed in ctx.needs_input_grad[2:])


def _clip_rows(
    rows: slice,
    adjustment: Adjustment | None,
    image: torch.Tensor,
    text: torch.Tensor,
    scale: torch.Tensor,
    bias: None,
    extra: torch.Tensor | None,
) -> torch.Tensor:
    """Half the sum of the cross-entropies of ``rows``, as images and as texts."""
    labels = torch.arange(rows.start, rows.stop, device=image.device)
    of_images, of_texts = scale * image[rows] @ text.T, scale * text[rows] @ image.T  # (n_rows, b) each
    if adjustment:
        of_images = of_images + adjustment.log_weight(rows).detach()
        of_texts = of_texts + adjustment.log_weight_text(rows).detach()
        if extra is not None:
            of_images = torch.cat([of_images, _extra_logits(rows, adjustment, scale * image[rows], extra)], dim=1)
    return (
        F.cross_entropy(of_images, labels, reduction="sum") + F.cross_entropy(of_texts, labels, reduction="sum")
    ) / 2


def _siglip_rows(
    rows: slice,
    adjustment: Adjustment | None,
    image: torch.Tensor,
    text: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    extra: torch.Tensor | None,
) -> torch.Tensor:
    """The sum of the logistic losses of all pairs of ``rows`` with all texts."""
    n_rows = rows.stop - rows.start
    diagonal = torch.arange(n_rows, device=image.device), torch.arange(rows.start, rows.stop, device=image.device)
    sign = torch.full((n_rows, len(text)), -1.0, device=image.device, dtype=image.dtype)
    sign[diagonal] = 1.0
    of_images = scale * image[rows] @ text.T + bias  # (n_rows, b)
    if adjustment is None:
        return -F.logsigmoid(sign * of_images).sum()
    of_texts = scale * text[rows] @ image.T + bias
    of_images = of_images + adjustment.log_weight(rows).detach()
    of_texts = of_texts + adjustment.log_weight_text(rows).detach()
    loss = -(F.logsigmoid(sign * of_images).sum() + F.logsigmoid(sign * of_texts).sum()) / 2
    if extra is not None:
        loss = loss - F.logsigmoid(-(_extra_logits(rows, adjustment, scale * image[rows], extra) + bias)).sum()
    return loss


def _extra_logits(rows: slice, adjustment: Adjustment, image: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
    """Logits of the scaled features ``image`` of ``rows`` with the texts from outside, shape (n_rows, q)."""
    return image @ extra.T + adjustment.extra_log_weight(rows).detach()
