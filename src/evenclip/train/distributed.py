"""Data-parallel training under `torchrun`: the rows of each process, and the exchange of features and gradients.

    torchrun --nproc-per-node 2 -m evenclip train ...        (with --max-restarts 3 it continues by itself)

Every process draws the same batches and encodes its share of each; the mean over processes of their losses is
minimised. The backend is NCCL on CUDA devices (one for each local process), else gloo. Without torchrun there is one
process, and nothing is exchanged.
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
        """The rows of this process; ``n_rows`` is a multiple of `size`."""
        n_own = n_rows // self.size
        return slice(self.rank * n_own, (self.rank + 1) * n_own)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, in order of rank; the gradient of a row goes back to its own process."""
        return rows if self.size == 1 else _Gather.apply(rows, self)

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its mean over processes, with one exchange per dtype."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for same_type in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same_type])
            with _exchange():
                dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(same_type, flat.split([tensor.numel() for tensor in same_type]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def share_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its mean over processes; a missing one counts as 0, unless no process has it."""
        if self.size == 1:
            return
        parameters = list(parameters)
        has = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device, dtype=torch.float32)
        with _exchange():
            dist.all_reduce(has, dist.ReduceOp.MAX)
        shared = [p for p, is_shared in zip(parameters, has.tolist(), strict=True) if is_shared]
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average(p.grad for p in shared)

    def from_first(self, value: Any) -> Any:
        """The value that the first process has."""
        if self.size == 1:
            return value
        box = [value]
        with _exchange():
            dist.broadcast_object_list(box)
        return box[0]


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun this process is the only one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # gloo too, because the few numbers of the history are exchanged on the CPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def check_shares(batch_size: int, processes: Processes) -> None:
    """Raise `InputError` unless every process gets the same number of rows."""
    if batch_size % processes.size:
        what = f"a batch of {batch_size} cannot be shared equally by {processes.size} processes"
        raise InputError(what, "batch_size", f"a multiple of {processes.size}")


@contextmanager
def _exchange() -> Iterator[None]:
    """Turn the failure of an exchange, when another process has ended, into `InputError`."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        instead = "see what it said; the same command continues from the last saved state"
        raise InputError(f"another process of this training has ended ({reason})", "torchrun", instead) from None


class _Gather(torch.autograd.Function):
    """All processes' rows; the gradient of a row is the sum of its gradients in all processes."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.processes = processes
        whole = rows.new_empty(processes.size * len(rows), *rows.shape[1:])
        with _exchange():
            dist.all_gather(list(whole.chunk(processes.size)), rows.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = upstream.contiguous().clone()
        with _exchange():
            dist.all_reduce(total)  # gloo has no reduce-scatter
        return total[ctx.processes.share(len(total))], None
