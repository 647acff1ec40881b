"""Rows of the history, of the steps since the last one; and the guard that stops at a loss that is no number."""

import resource
import sys
from typing import Any

import torch

from evenclip.errors import InputError
from evenclip.train.checkpoint import SavedState
from evenclip.train.engine import Engine, StepResult

KEYS_NAMED = 8  # keys of a batch that an error message names


def history_row(engine: Engine, results: list[StepResult]) -> dict[str, Any]:
    """Means over steps and processes, and where the training is now; the same on every rank."""
    measured = _mean_scalars(results)
    means = torch.tensor([*measured.values()], dtype=torch.float64)
    engine.processes.average([means])
    batches = engine.parts.batches
    return {
        "step": engine.position,
        "samples_seen": engine.position * engine.options.batch_size,
        "epoch": batches.epoch(engine.position - 1),
        **dict(zip(measured, means.tolist(), strict=True)),
        "lr": results[-1].lr,
        "logit_scale": engine.module.logit_scale.exp().item(),
        **batches.logged([result.batch for result in results]),
        **peak_memory_mb(engine.device),
    }


def check_finite(engine: Engine, results: list[StepResult], saved: SavedState | None) -> None:
    """Stop at the first step whose loss or gradient is no number.

    With fp16 a gradient that overflows is expected: the step was left out, and the next loss is scaled less.

    Raises
    ------
    InputError
        Names step and keys; the first process puts all keys beside the saved state.
    """
    measured = torch.stack([torch.stack([result.loss, result.grad_norm]) for result in results]).cpu()
    engine.processes.average([measured])  # so that all processes stop together
    watched = measured[:, :1] if engine.options.precision == "fp16" else measured
    bad = torch.nonzero(~torch.isfinite(watched))
    if not len(bad):
        return
    index, column = bad[0].tolist()
    step = engine.position - len(results) + index + 1
    keys = engine.pairs.keys[results[index].batch.rows].tolist()
    what = f"the {('loss', 'gradient norm')[column]} is {measured[index, column].item()} at step {step}"
    found = ", ".join(keys[:KEYS_NAMED]) + (", ..." if len(keys) > KEYS_NAMED else "")
    place = ""
    if saved:
        record = {"step": step, "loss": str(measured[index, 0].item()), "keys": keys}
        place = f" (all in {saved.record('not_finite.json', record)})"
    hint = "lower lr, raise warmup_share, or take precision=fp32"
    raise InputError(f"{what}; its batch: {found}{place}", "train", hint)


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """The most memory that this process has held until now, and the most on its GPU."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    on_gpu = {"gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20} if device.type == "cuda" else {}
    return {"memory_mb": kilobytes / 1024} | on_gpu


def _mean_scalars(results: list[StepResult]) -> dict[str, float]:
    """Means of loss, gradient norm and what the parts logged, each over the steps that logged it."""
    rows = [{"loss": result.loss, "grad_norm": result.grad_norm, **result.scalars} for result in results]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [float(row[name]) for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
