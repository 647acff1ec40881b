"""Trainings from inputs to outputs: read, start or continue, train, record, write.

The outputs appear whole or not at all. A training that was killed at any moment continues with the same command and
ends with the same weights, bit by bit (on a CPU, with the same machine and number of threads and processes). Under
`torchrun` several processes train one model (`evenclip.train.distributed`); the first of them reads and writes the
saved state and the outputs.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors import SafetensorError

from evenclip.code_fingerprint import code_fingerprint
from evenclip.data.shards import read_manifest
from evenclip.errors import InputError
from evenclip.features.projections import CachedProjections
from evenclip.features.table import FeatureTable
from evenclip.model.clip import Clip, create_clip, resolve_device, resolve_precision, save_clip
from evenclip.model.trunks import draw_projections
from evenclip.progress import track
from evenclip.provenance import Manifest, atomic_folder, check_replaceable
from evenclip.tables import read_table, write_table
from evenclip.train.checkpoint import FinishedModel, SavedState, only_training
from evenclip.train.data import Pairs, load_pairs
from evenclip.train.distributed import Processes, check_shares, joined_processes
from evenclip.train.engine import Engine
from evenclip.train.history import check_finite, history_row, memory_mb
from evenclip.train.options import TrainOptions
from evenclip.train.plugin import Clock, MethodContext

Watch = Callable[[Mapping[str, Any]], None]


def train_models(data: Path, weights: Path, outs: Mapping[int, Path], state: Path, options: TrainOptions,
                 labels: Path | None = None, graph: Path | None = None,
                 watch: Watch | None = None, features: Path | None = None) -> None:  # fmt: skip
    """Train a CLIP model with each of several seeds, on the same decoded images or features.

    Every training is the same as one alone, bit by bit. Seeds that were finished are not trained again, neither if the
    command was interrupted nor if it is repeated with more seeds.

    Parameters
    ----------
    data : Path
        Folder of image-text shards.
    weights : Path
        `weights.parquet` of `evenclip balance`, for this data.
    outs : mapping of int to Path
        Run folder of each seed, at least 0; replaced as a whole. A seed determines initial weights, batches, captions
        and crops.
    state : Path
        Folder for the saved states of interrupted trainings, for links to the models of several seeds, and for features
        of texts that ``features`` lack.
    options : TrainOptions
    labels : Path, optional
        Labels table of this data, for methods that use perceived groups.
    graph : Path, optional
        Folder of `evenclip graph`, for methods that use the knowledge graph.
    watch : callable, optional
        Called by the first process with each new row of the history.
    features : Path, optional
        Folder of `evenclip features` of this data and of the initial weights: their trunks, which must be frozen, are
        not computed again.

    Raises
    ------
    InputError
        Model, weights, data and features do not fit together, another process trains this model, the loss is no longer
        finite, or the outputs cannot be written.
    """
    for out in outs.values():
        check_replaceable(Path(out), "train")  # before a training that may be long
    device = resolve_device(options.device)
    asked, options = options, options.model_copy(update={"precision": resolve_precision(options.precision, device)})
    torch.set_num_threads(options.threads)
    read_manifest(data)  # this line and the next explain a wrong path
    read_table(weights, ["key", "copies"])
    inputs = {"data": data, "weights": weights, "labels": labels, "graph": graph, "features": features}
    inputs = {name: path for name, path in inputs.items() if path}
    source = _Source(data, weights, options, device, features, state)
    with joined_processes(device) as processes:
        check_shares(options.batch_size, processes)
        for seed, out in outs.items():
            manifest = _manifest(asked, inputs, seed)
            with only_training(state, out) if processes.is_first else nullcontext():
                identity = _identity(manifest, out, options.of_seed(seed), device, processes)
                saved = SavedState(state, identity) if processes.is_first else None
                finished = FinishedModel(state, identity) if processes.is_first and len(outs) > 1 else None
                if processes.from_first(finished.restore() if finished else None):
                    continue
                clip, pairs = source.of_seed(seed)
                clock = Clock(-(-options.samples_seen // options.batch_size))
                paths = data, labels, graph, weights
                context = MethodContext(options.of_seed(seed), clip, pairs, seed, clock, device, *paths)
                engine = Engine(context, processes)
                history = _run(engine, saved, watch)
                engine.finish()
                if saved:
                    _write(engine, history, out, manifest, weights)
                    if finished:
                        finished.keep()
                    saved.remove()


def _manifest(options: TrainOptions, inputs: Mapping[str, Path], seed: int) -> Manifest:
    own = options.of_seed(seed)
    files = {name: Path(path) for name, path in (own.files() | own.stage_outputs()).items()}
    return Manifest("train", options.model_dump(mode="json"), {**inputs, **files}, seed)


class _Source:
    """Models and pairs of the seeds of one training; what does not depend on the seed is read once."""

    def __init__(
        self, data: Path, weights: Path, options: TrainOptions, device: torch.device, features: Path | None, state: Path
    ):
        self._data, self._weights, self._options, self._device = data, weights, options, device
        self._cache = state / "texts"
        self._table = self._projections = self._pairs = None
        if features:
            options.check_cacheable()
            self._table = FeatureTable.read(features, data, options.trunks())

    def of_seed(self, seed: int) -> tuple[Clip, Pairs]:
        """A model to train, and the pairs."""
        torch.manual_seed(seed)
        if self._table:
            clip = self._cached_clip(seed)
            torch.manual_seed(seed)  # the methods' own weights are the same whether the model was just built or not
        else:
            clip = self._whole_clip(seed)
        return clip, self._pairs_for(clip)

    def _whole_clip(self, seed: int) -> Clip:
        options = self._options.of_seed(seed)
        clip = create_clip(options.model, options.init, options.objective)
        if options.fresh_projections:
            draw_projections(clip.module, seed)
        return clip

    def _cached_clip(self, seed: int) -> Clip:
        if self._projections is None:
            self._whole = self._whole_clip(seed)
            self._projections = CachedProjections(
                self._whole, self._options.trunks(), [self._table], self._device, self._cache
            )
        elif self._options.fresh_projections:
            draw_projections(self._whole.module, seed)
        return self._projections.clip()

    def _pairs_for(self, clip: Clip) -> Pairs:
        if self._pairs is None:
            options = self._options
            first = Path(options.stages.first) if options.stages else None
            own = options.threads, options.cache_mb, first, options.twins
            self._pairs = load_pairs(self._data, self._weights, clip, *own, self._table)
        return self._pairs


def _run(engine: Engine, saved: SavedState | None, watch: Watch | None) -> list[dict[str, Any]]:
    """Train the remaining steps and return the whole history; only the first process has a ``saved`` state."""
    history: list[dict[str, Any]] = []
    if state := engine.processes.from_first(saved.load() if saved else None):
        engine.restore(state["engine"])
        history = state["history"]
        if saved:
            print(f"continuing at step {engine.position + 1} of {engine.n_steps}", file=sys.stderr)
    options, pending = engine.options, []
    logged_at = saved_at = time.monotonic()
    for _ in track(range(engine.position, engine.n_steps), f"train seed {engine.seed}"):
        pending.append(engine.step())
        if len(pending) < options.log_every and engine.position < engine.n_steps:
            continue
        check_finite(engine, pending, saved)
        row = history_row(engine, pending)
        now = time.monotonic()
        history.append(row | {"samples_per_second": len(pending) * options.batch_size / (now - logged_at)})
        if watch and saved:
            watch(history[-1])
        pending, logged_at = [], now
        if saved and now - saved_at >= options.save_every_s and engine.position < engine.n_steps:
            saved.save({"engine": engine.state(), "history": history})
            saved_at = time.monotonic()
    return history


def _write(engine: Engine, history: list[dict[str, Any]], out: Path, manifest: Manifest, weights: Path) -> None:
    clip = engine.clip
    tokenizer = {"tokenizer": type(clip.tokenizer).__name__, "context_length": clip.tokenizer.context_length}
    names = dict.fromkeys(name for row in history for name in row)
    table = pa.table({name: [row.get(name) for row in history] for name in names})
    try:
        with atomic_folder(out) as folder:
            save_clip(clip, folder, objective=engine.options.objective, **tokenizer)
            for term in engine.terms:
                term.save(folder)
            write_table(table, folder / "history.parquet")
            for name, extra in engine.tables().items():
                write_table(extra, folder / f"{name}.parquet")
            manifest.write(folder / "manifest.json", **_facts(engine, history, weights))
    except (OSError, SafetensorError, InputError) as error:
        cause = error.__context__ if isinstance(error, InputError) else error
        if not isinstance(cause, (OSError, SafetensorError)):
            raise
        again = "make room; the same command then continues from the last saved state"
        raise InputError(
            f"the outputs cannot be written ({getattr(cause, 'strerror', cause)})", str(out), again
        ) from None


def _identity(
    manifest: Manifest, out: Path, options: TrainOptions, device: torch.device, processes: Processes
) -> dict[str, Any]:
    """Everything that decides the final weights."""
    return {
        "out": str(out.resolve()),
        "option": options.model_dump(mode="json", exclude={"device", "save_every_s", "cache_mb"}),
        "seed": manifest.seed,
        "input": {name: entry["sha256"][:12] for name, entry in manifest.inputs.items()},
        "code": code_fingerprint("evenclip.train.trainer"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "n_processes": processes.size,
    }


def _facts(engine: Engine, history: list[dict[str, Any]], weights: Path) -> dict[str, Any]:
    """Facts about the training for its manifest."""
    balanced = weights.resolve().parent  # a strategy is named by its folder: two may be of one kind
    strategy = balanced.name if (balanced / "report.json").is_file() else None
    seen = [row["samples_seen"] for row in history]
    n_each = [b - a for a, b in zip([0, *seen], seen, strict=False)]
    seconds = sum(n / row["samples_per_second"] for n, row in zip(n_each, history, strict=True))
    return {
        "strategy": strategy,
        "device": engine.device.type,
        "dtype": {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[engine.options.precision],
        "n_processes": engine.processes.size,
        "samples_seen": seen[-1],
        "samples_per_second": round(seen[-1] / seconds, 1),
        **{f"peak_{name}": round(value, 1) for name, value in memory_mb(engine.device).items()},
        "n_pairs": len(engine.pairs.keys),
        "n_without_caption": engine.pairs.n_without_caption,
        "n_parameters": sum(p.numel() for p in engine.module.parameters()),
    }
