"""Rows of the training history, and the check that stops a training whose loss is not a finite number."""

from typing import Any

import torch

from evenclip.errors import InputError
from evenclip.provenance import peak_memory_mb
from evenclip.train.checkpoint import SavedState
from evenclip.train.engine import Engine, StepResult

KEYS_NAMED = 8  # keys of a batch that an error message lists


def history_row(engine: Engine, results: list[StepResult]) -> dict[str, Any]:
    """One row: means over some steps and all processes, and the position; the same in every process."""
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
        **memory_mb(engine.device),
    }


def check_finite(engine: Engine, results: list[StepResult], saved: SavedState | None) -> None:
    """Stop at the first step whose loss or gradient is not finite.

    With fp16 a gradient may overflow: that step was skipped, and the next loss is scaled down.

    Raises
    ------
    InputError
        Names step and keys; the first process writes all keys beside the saved state.
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
    first_keys = ", ".join(keys[:KEYS_NAMED]) + (", ..." if len(keys) > KEYS_NAMED else "")
    written = ""
    if saved:
        record = {"step": step, "loss": str(measured[index, 0].item()), "keys": keys}
        written = f" (all in {saved.record('not_finite.json', record)})"
    hint = "lower lr, raise warmup_share, or take precision=fp32"
    raise InputError(f"{what}; its batch: {first_keys}{written}", "train", hint)


def memory_mb(device: torch.device) -> dict[str, float]:
    """Peak memory of this process, and of its GPU if it uses one, in MB."""
    on_gpu = {"gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20} if device.type == "cuda" else {}
    return {"memory_mb": peak_memory_mb()} | on_gpu


def _mean_scalars(results: list[StepResult]) -> dict[str, float]:
    """Means of loss, gradient norm and logged scalars, each over the steps that logged it."""
    rows = [{"loss": result.loss, "grad_norm": result.grad_norm, **result.scalars} for result in results]
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [float(row[name]) for row in rows if name in row] for name in names}
    return {name: sum(column) / len(column) for name, column in values.items()}
