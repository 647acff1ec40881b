"""Depthwise convolutions in bfloat16 on a CPU, with gradients computed in float32.

A CPU computes their results in bfloat16 as fast as those of other layers, but their gradients many times slower than in
float32: an EfficientNet trained slower in bfloat16 than in float32.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def float32_gradients(tower: nn.Module, device: torch.device) -> AbstractContextManager:
    """A context in which ``tower`` is encoded; it changes nothing but gradients under autocast in bfloat16 on a CPU.

    Compiled towers and convolutions whose padding is given in words stay as they are.
    """
    is_needed = (
        device.type == "cpu"
        and tower._compiled_call_impl is None
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in tower.modules())
    )
    return _Depthwise() if is_needed else nullcontext()


class _Depthwise(TorchFunctionMode):
    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is F.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    is_depthwise = input.ndim == 4 and groups == input.shape[1] > 1
    if not is_depthwise or isinstance(padding, str) or input.dtype == torch.float64:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Float32Gradients.apply(input, weight, bias, stride, padding, dilation, groups)


class _Float32Gradients(torch.autograd.Function):
    """A convolution in bfloat16 whose gradients are those of what it computed, in float32 arithmetic."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *geometry: Any
    ) -> torch.Tensor:
        ctx.dtype, x, rounded = x.dtype, x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, rounded)
        ctx.geometry, ctx.bias_size = geometry, None if bias is None else list(bias.shape)
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, rounded, None if bias is None else bias.bfloat16(), *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        sizes = (_pair(size) for size in (stride, padding, dilation))
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            upstream.float(), x.float(), weight.float(), ctx.bias_size, *sizes, False, [0, 0], groups,
            list(ctx.needs_input_grad[:3]),
        )  # fmt: skip
        return None if of_x is None else of_x.to(ctx.dtype), of_weight, of_bias, None, None, None, None


def _pair(size: Any) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
