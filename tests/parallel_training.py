"""The gradients of one training step, by one process or by each of several: run by test_train_gradients.py.

python parallel_training.py FOLDER OUT      (with torchrun's environment variables)
"""

import sys
from pathlib import Path

import torch
from torch import nn

from evenclip.model.clip import create_clip
from evenclip.train import TrainOptions, engine
from evenclip.train.batches import WeightedBatches
from evenclip.train.clock import Clock
from evenclip.train.engine import Engine
from evenclip.train.methods import Parts, Setting
from evenclip.train.pairs import load_pairs
from evenclip.train.parallel import Ranks, joined_ranks
from evenclip.train.step import Step, Term

CASES = {
    "clip": {},
    "siglip": {"objective": "siglip"},
    "crops": {"crop_scale_min": 0.5},
    "micro batches": {"micro_batch_size": 3, "crop_scale_min": 0.5},
    "frozen images": {"freeze": ["image"], "micro_batch_size": 3},
    "frozen texts": {"freeze": ["text"]},
}


class OnBoth(Term):
    """A loss of the whole batch plus a mean over the process's own rows, with a parameter of its own."""

    weight, lr = 0.3, 1e-2

    def __init__(self):
        super().__init__()
        self.direction = nn.Parameter(torch.linspace(-1, 1, 16))

    def forward(self, step: Step) -> tuple[torch.Tensor, dict]:
        spread = (step.image.T @ step.text).square().mean()
        own = (step.image[step.mine] @ self.direction).square().mean() + step.images.mean()
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


def make_engine(folder: Path, ranks: Ranks, **options) -> Engine:
    """An engine with a term and adjusted negatives."""

    def make(setting: Setting) -> Parts:
        batches = WeightedBatches(setting.pairs.copies, setting.options.batch_size, setting.seed)
        return Parts(batches, negatives=Masked(), terms=[OnBoth()])

    engine.make_parts = make
    plain = {"batch_size": 16, "samples_seen": 64, "precision": "fp32", "device": "cpu"}
    parsed = TrainOptions(**plain | options)
    torch.manual_seed(0)
    clip = create_clip(str(folder / "tiny.json"), objective=parsed.objective)
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    return Engine(Setting(parsed, clip, pairs, 0, Clock(4), torch.device("cpu")), ranks)


def gradients(folder: Path, ranks: Ranks, **options) -> dict[str, torch.Tensor]:
    """Gradients by name, as the optimiser gets them, and the loss."""
    made = make_engine(folder, ranks, **options)
    found = {}

    def keep() -> None:
        for prefix, module in (("", made.module), ("terms.", made.terms)):
            found.update({prefix + name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})

    made._update._optimizer.register_step_pre_hook(lambda *_: keep())
    loss = made.step().loss
    ranks.average([loss])
    return found | {"loss": loss}


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    with joined_ranks(torch.device("cpu")) as ranks:
        found = {name: gradients(folder, ranks, **options) for name, options in CASES.items()}
        torch.save(found, out / f"rank{ranks.rank}.pt")


if __name__ == "__main__":
    main()
