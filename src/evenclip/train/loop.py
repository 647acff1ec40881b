"""Train one model from start to outputs: read, continue or begin, step, record, write.

The outputs appear whole or not at all; a training that is killed at any moment continues with the same command and
ends in the same weights, bit by bit (same machine, same number of threads, on a CPU).
"""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from evenclip.data.shards import read_manifest
from evenclip.model.clip import create_clip, save_clip
from evenclip.model.hardware import resolve_device, resolve_precision
from evenclip.progress import track
from evenclip.provenance import Manifest, atomic_folder, code_fingerprint
from evenclip.records import read_table, write_table
from evenclip.train.clock import Clock
from evenclip.train.engine import Engine, Outcome
from evenclip.train.methods import Setting
from evenclip.train.options import TrainOptions
from evenclip.train.pairs import load_pairs
from evenclip.train.state import SavedState


def train_model(data: Path, weights: Path, out: Path, seed: int, state: Path, options: TrainOptions,
                labels: Path | None = None, graph: Path | None = None) -> None:  # fmt: skip
    """Train a CLIP model.

    Parameters
    ----------
    data : Path
        Folder of image-text shards.
    weights : Path
        `weights.parquet` of `evenclip balance`, for this data.
    out : Path
        Run folder; replaced as a whole.
    seed : int
        At least 0; decides initial weights, batches, captions and crops.
    state : Path
        Folder of interrupted trainings.
    options : TrainOptions
    labels : Path, optional
        Labels table of this data, for methods that look at perceived attributes.
    graph : Path, optional
        Folder of `evenclip graph`, for methods that use knowledge.

    Raises
    ------
    InputError
        Model, weights and data do not fit each other, or the loss stops being a number.
    """
    device = resolve_device(options.device)
    asked, options = options, options.model_copy(update={"precision": resolve_precision(options.precision, device)})
    torch.set_num_threads(options.threads)
    named = {"model": options.model, "init": options.init}
    model_files = {name: path for name, path in named.items() if Path(path).is_file()}
    read_manifest(data)  # this and the next say what is wrong with a path
    read_table(weights, ["key", "copies"])
    further = {name: path for name, path in (("labels", labels), ("graph", graph)) if path}
    inputs = {"data": data, "weights": weights, **further, **model_files}
    manifest = Manifest("train", asked.model_dump(mode="json"), inputs, seed)
    saved = SavedState(state, _identity(manifest, out, options, device))
    torch.manual_seed(seed)
    clip = create_clip(options.model, options.init, options.objective)
    pairs = load_pairs(data, weights, clip, options.threads)
    clock = Clock(-(-options.samples_seen // options.batch_size))
    engine = Engine(Setting(options, clip, pairs, seed, clock, device, data, labels, graph))
    history = _run(engine, saved)
    engine.finish()
    with atomic_folder(out) as folder:
        tokenizer = {"tokenizer": type(clip.tokenizer).__name__, "context_length": clip.tokenizer.context_length}
        save_clip(clip, folder, objective=options.objective, **tokenizer)
        names = dict.fromkeys(name for row in history for name in row)
        write_table(pa.table({name: [row.get(name) for row in history] for name in names}), folder / "history.parquet")
        manifest.write(folder / "manifest.json", **_facts(engine, history, weights))
    saved.remove()


def _run(engine: Engine, saved: SavedState) -> list[dict[str, Any]]:
    """Do the steps that are left; returns the history of all."""
    history: list[dict[str, Any]] = []
    if found := saved.load():
        engine.restore(found["engine"])
        history = found["history"]
        print(f"continuing at step {engine.position + 1} of {engine.n_steps}", file=sys.stderr)
    options, pending = engine.options, []
    logged_at = saved_at = time.monotonic()
    for _ in track(range(engine.position, engine.n_steps), f"train seed {engine.seed}"):
        pending.append(engine.step())
        if len(pending) < options.log_every and engine.position < engine.n_steps:
            continue
        row = _history_row(engine, pending)
        now = time.monotonic()
        history.append(row | {"samples_per_second": len(pending) * options.batch_size / (now - logged_at)})
        pending, logged_at = [], now
        if now - saved_at >= options.save_every_s and engine.position < engine.n_steps:
            saved.save({"engine": engine.state(), "history": history})
            saved_at = time.monotonic()
    return history


def _history_row(engine: Engine, outcomes: list[Outcome]) -> dict[str, Any]:
    """Means over the steps since the last row; raises where a loss is no number."""
    losses = torch.stack([outcome.loss for outcome in outcomes]).cpu()
    engine.check_finite(losses)
    batches = engine.parts.batches
    return {
        "step": engine.position,
        "samples_seen": engine.position * engine.options.batch_size,
        "epoch": batches.epoch(engine.position - 1),
        "loss": losses.mean().item(),
        "grad_norm": torch.stack([outcome.grad_norm for outcome in outcomes]).mean().item(),
        "lr": outcomes[-1].lr,
        "logit_scale": engine.module.logit_scale.exp().item(),
        **batches.logged([outcome.batch for outcome in outcomes]),
        **_mean_scalars(outcomes),
    }


def _mean_scalars(outcomes: list[Outcome]) -> dict[str, float]:
    """Means of what the parts logged, each over the steps that logged it."""
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.scalars)
    found = {name: [float(o.scalars[name]) for o in outcomes if name in o.scalars] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}


def _identity(manifest: Manifest, out: Path, options: TrainOptions, device: torch.device) -> dict[str, Any]:
    """All that decides the final weights."""
    return {
        "out": str(out.resolve()),
        "option": options.model_dump(mode="json", exclude={"device", "save_every_s"}),
        "seed": manifest.seed,
        "input": {name: entry["sha256"][:12] for name, entry in manifest.inputs.items()},
        "code": code_fingerprint("evenclip.train.loop"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def _facts(engine: Engine, history: list[dict[str, Any]], weights: Path) -> dict[str, Any]:
    """What only the training knows, for the manifest."""
    balanced = weights.resolve().parent  # the strategy's name is its folder's: two may be of one kind
    strategy = balanced.name if (balanced / "report.json").is_file() else None
    seen = [row["samples_seen"] for row in history]
    n_each = [b - a for a, b in zip([0, *seen], seen, strict=False)]
    seconds = sum(n / row["samples_per_second"] for n, row in zip(n_each, history, strict=True))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    on_gpu = {"peak_gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20} if engine.device.type == "cuda" else {}
    return {
        "strategy": strategy,
        "device": engine.device.type,
        "dtype": {"fp32": "float32", "bf16": "bfloat16"}[engine.options.precision],
        "samples_seen": seen[-1],
        "samples_per_second": round(seen[-1] / seconds, 1),
        "peak_memory_mb": round(kilobytes / 1024, 1),
        "n_pairs": len(engine.pairs.keys),
        "n_without_caption": engine.pairs.n_without_caption,
        "n_parameters": sum(p.numel() for p in engine.module.parameters()),
        **on_gpu,
    }
