"""Data parallel training under `torchrun`: who has which rows, and how features and gradients come together.

    torchrun --nproc-per-node 2 -m evenclip train ...        (--max-restarts 3: continues by itself)

Every rank draws the same batches and does its share of each; what is minimised is the mean over processes. NCCL on CUDA
devices (one for each local rank), gloo otherwise. Without torchrun there is one rank and nothing is exchanged.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed as dist

from evenclip.errors import InputError


@dataclass(frozen=True)
class Processes:
    """The processes of one training: ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reads and writes the training's files."""
        return self.rank == 0

    def share(self, n_rows: int) -> slice:
        """The rows of this rank; ``n_rows`` is a multiple of `size`."""
        each = n_rows // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes in their order, on every rank; gradients go back to the rank that a row is from."""
        return rows if self.size == 1 else _Gather.apply(rows, self)

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its mean over processes; one exchange for each type of number."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for several in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in several])
            with _together():
                dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(several, flat.split([tensor.numel() for tensor in several]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def share_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its mean over processes; a rank without one counts as 0, unless no rank has one."""
        if self.size == 1:
            return
        parameters = list(parameters)
        has = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device, dtype=torch.float32)
        with _together():
            dist.all_reduce(has, dist.ReduceOp.MAX)
        shared = [p for p, there in zip(parameters, has.tolist(), strict=True) if there]
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average(p.grad for p in shared)

    def from_first(self, value: Any) -> Any:
        """What the first rank has."""
        if self.size == 1:
            return value
        box = [value]
        with _together():
            dist.broadcast_object_list(box)
        return box[0]


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the other processes that torchrun started; alone without torchrun."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # the history's few numbers are exchanged on the CPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def check_shares(batch_size: int, processes: Processes) -> None:
    """`InputError` unless every rank gets the same number of rows."""
    if batch_size % processes.size:
        what = f"a batch of {batch_size} cannot be shared equally by {processes.size} processes"
        raise InputError(what, "batch_size", f"a multiple of {processes.size}")


@contextmanager
def _together() -> Iterator[None]:
    """An exchange with the others, of whom one may be gone."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        instead = "see what it said; the same command continues from the last saved state"
        raise InputError(f"another process of this training has ended ({reason})", "torchrun", instead) from None


class _Gather(torch.autograd.Function):
    """All processes' rows; the gradient of a row is the sum of what all processes say about it."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.processes = processes
        whole = rows.new_empty(processes.size * len(rows), *rows.shape[1:])
        with _together():
            dist.all_gather(list(whole.chunk(processes.size)), rows.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = upstream.contiguous().clone()
        with _together():
            dist.all_reduce(total)  # gloo has no reduce-scatter
        return total[ctx.processes.share(len(total))], None
