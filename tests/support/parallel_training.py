"""The gradients of one training step, by one process or by each of several: run by unit/train/test_distributed.py.

python -m support.parallel_training FOLDER OUT      (with torchrun's environment variables)
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn

from evenclip.model.clip import create_clip
from evenclip.train import TrainOptions, engine
from evenclip.train.batches import WeightedBatches
from evenclip.train.data import load_pairs
from evenclip.train.distributed import Processes, joined_processes
from evenclip.train.engine import Engine
from evenclip.train.plugin import Clock, MethodContext, Parts, Step, Term
from support.tiny_methods import make_methods_engine

CASES = {
    "clip": {},
    "siglip": {"objective": "siglip"},
    "crops": {"crop_scale_min": 0.5},
    "micro batches": {"micro_batch_size": 3, "crop_scale_min": 0.5},
    "frozen images": {"freeze": ["image"], "micro_batch_size": 3},
    "frozen texts": {"freeze": ["text"]},
}
METHODS = {
    "simclip": {"simclip": {"cluster_size": 4}},
    "ahnm": {"ahnm": {"sharpness_start": 0.5, "strength_start": 1}},
    "ahnm, siglip": {"ahnm": {"strength_start": 1}, "objective": "siglip"},
    "fcl on two stages of simclip": {
        "fcl": {"prompts": "colors.yaml"}, "simclip": {}, "stages": {"first": "first.parquet", "share": 0.5},
    },
}  # fmt: skip


class OnBoth(Term):
    """A loss of the whole batch plus a mean over the process's own rows, with a parameter of its own."""

    weight, lr = 0.3, 1e-2

    def __init__(self):
        super().__init__()
        self.direction = nn.Parameter(torch.linspace(-1, 1, 16))

    def forward(self, step: Step) -> tuple[torch.Tensor, dict]:
        spread = (step.image.T @ step.text).square().mean()
        own = (step.image[step.local_rows] @ self.direction).square().mean() + step.images.mean()
        return spread + own, {"spread": spread.detach()}


class Masked:
    """Negatives of which some count less, and two further texts."""

    def adjust(self, step: Step) -> "Masked":
        n = len(step.image)
        self.matrix = torch.linspace(-2, 0, n * n).reshape(n, n).fill_diagonal_(0)
        self.extra_text = step.text[:2].detach()
        return self

    def extra_log_weight(self, rows: slice) -> torch.Tensor:
        return torch.full((rows.stop - rows.start, 2), -1.0)

    def log_weight(self, rows: slice) -> torch.Tensor:
        return self.matrix[rows]

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        return self.matrix.T[rows]

    def logged(self) -> dict:
        return {}

    def state(self) -> dict:
        return {}

    def restore(self, state: dict) -> None:
        pass


def make_engine(folder: Path, processes: Processes, **options) -> Engine:
    """An engine with a term and adjusted negatives."""

    def make(context: MethodContext) -> Parts:
        batches = WeightedBatches(context.pairs.copies, context.options.batch_size, context.seed)
        return Parts(batches, negatives=Masked(), terms=[OnBoth()])

    engine.make_parts = make
    plain = {"batch_size": 16, "samples_seen": 64, "precision": "fp32", "device": "cpu"}
    parsed = TrainOptions(**plain | options)
    torch.manual_seed(0)
    clip = create_clip(str(folder / "tiny.json"), objective=parsed.objective)
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    return Engine(MethodContext(parsed, clip, pairs, 0, Clock(4), torch.device("cpu")), processes)


def gradients(made: Engine, n_steps: int = 1) -> dict[str, torch.Tensor]:
    """Gradients of the last of some steps by name, as the optimiser gets them, and the loss."""
    gradients_of = {}

    def keep() -> None:
        for prefix, module in (("", made.module), ("terms.", made.terms)):
            gradients_of.update(
                {prefix + name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
            )

    made._optimizer_step._optimizer.register_step_pre_hook(lambda *_: keep())
    for _ in range(n_steps):
        loss = made.step().loss
    made.processes.average([loss])
    return gradients_of | {"loss": loss}


def method_gradients(folder: Path, processes: Processes, **options) -> dict[str, torch.Tensor]:
    """Gradients of the third step, for which the methods remember something."""
    os.chdir(folder)
    return gradients(make_methods_engine(folder, processes, **options), n_steps=3)


def main() -> None:
    folder, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    torch.set_num_threads(1)
    with joined_processes(torch.device("cpu")) as processes:
        result = {name: method_gradients(folder / "methods", processes, **options) for name, options in METHODS.items()}
        result |= {name: gradients(make_engine(folder, processes, **options)) for name, options in CASES.items()}
        torch.save(result, out / f"rank{processes.rank}.pt")


if __name__ == "__main__":
    main()
