"""A pretended GPU: tensors on `cuda` are CPU tensors with a mark, and mixing devices fails as it does on a GPU.

Torch's functions are seen from outside alone, as Python calls them, so what a function does inside is trusted. Kernels,
precision, memory and several streams are not pretended.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MARK = "pretended_cuda"
INTO_FIRST = {Tensor.copy_, Tensor.__setitem__, Tensor.index_put_, Tensor.__getitem__}
"""Functions whose first tensor may be on the GPU and the others, values or indices, on the CPU."""
GETTERS = {Tensor.device.__get__: lambda tensor: torch.device("cuda", 0) if on_gpu(tensor) else torch.device("cpu"),
           Tensor.is_cuda.__get__: lambda tensor: on_gpu(tensor),
           Tensor.is_cpu.__get__: lambda tensor: not on_gpu(tensor)}  # fmt: skip


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is on the pretended GPU."""
    return tensor.__dict__.get(MARK, False)


def mark(tensor: Tensor, gpu: bool) -> Tensor:
    tensor.__dict__[MARK] = gpu
    return tensor


class PretendedCuda(TorchFunctionMode):
    """The context in which there is a pretended GPU."""

    def __enter__(self):
        create = nn.Parameter.__new__

        def parameter(cls: type, data: Tensor | None = None, requires_grad: bool = True) -> nn.Parameter:
            made = create(cls, data, requires_grad)
            return made if data is None else mark(made, on_gpu(data))

        cuda = {"is_available": True, "device_count": 1, "is_bf16_supported": True, "max_memory_allocated": 0,
                "get_device_name": "a pretended GPU"}  # fmt: skip
        self._patches = ExitStack()
        for name, value in cuda.items():
            self._patches.enter_context(patch.object(torch.cuda, name, lambda *_, value=value, **__: value))
        self._patches.enter_context(patch.object(nn.Parameter, "__new__", parameter))
        self._patches.enter_context(patch.object(Tensor, "pin_memory", lambda tensor: tensor))
        check = "_accelerator_graph_capture_health_check"  # asks the driver for its stream
        self._patches.enter_context(patch.object(torch.optim.Optimizer, check, lambda _: None))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._patches.close()

    def __torch_function__(
        self, function: Callable, types: object, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in GETTERS:
            return GETTERS[function](args[0])
        if function in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return _moved(function, args, kwargs)
        if function == Tensor.data.__set__:
            function(*args)
            mark(args[0], on_gpu(args[1]))
            return None
        if function in (Tensor.numpy, Tensor.__array__) and on_gpu(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        inputs = list(tensors([args, kwargs]))
        _check(function, inputs)
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = "cpu"
        gpu = torch.device(asked).type == "cuda" if asked is not None else any(map(on_gpu, inputs))
        result = function(*args, **kwargs)
        for tensor in tensors(result):
            if not any(tensor is argument for argument in inputs):
                mark(tensor, gpu)
        return result


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def _check(function: Callable, inputs: list[Tensor]) -> None:
    """Refuse tensors on both devices; a single number on the CPU goes with the GPU's."""
    if not any(map(on_gpu, inputs)) or all(on_gpu(tensor) or tensor.dim() == 0 for tensor in inputs):
        return
    if function is Tensor.copy_ or (function in INTO_FIRST and on_gpu(inputs[0])):
        return
    name = getattr(function, "__name__", str(function))
    if name == "_has_compatible_shallow_copy_type":
        return
    where = [(tuple(tensor.shape), "cuda" if on_gpu(tensor) else "cpu") for tensor in inputs]
    raise RuntimeError(f"Expected all tensors to be on the same device, but got {name} of {where}")


def _moved(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """`Tensor.to`, `cuda` or `cpu`: the same tensor if it is there already, else a copy."""
    tensor, *rest = args
    gpu = {Tensor.cuda: True, Tensor.cpu: False}.get(function, on_gpu(tensor))
    changes = {}
    for value in [*rest, *kwargs.values()]:
        if isinstance(value, Tensor):
            gpu, changes["dtype"] = on_gpu(value), value.dtype
        elif isinstance(value, str | torch.device):
            gpu = torch.device(value).type == "cuda"
        elif isinstance(value, torch.dtype):
            changes["dtype"] = value
        elif isinstance(value, torch.memory_format):
            changes["memory_format"] = value
    moved = tensor.to(**changes) if changes else tensor
    if gpu != on_gpu(tensor) and moved is tensor:
        moved = tensor.clone()
    return tensor if moved is tensor else mark(moved, gpu)
