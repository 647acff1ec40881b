"""Measure training and embedding on a GPU: against open_clip's own trainer, and what each method costs.

    python -m benchmarks.gpu TABLE [--dry-run]

ViT-B/32 at 224 pixels with captions of 16 tokens, bf16, batches of 1,024, drawn photos that lie decoded in memory. The
peer reads the same photos as JPEG files (`open_clip_train`; needs the packages webdataset and braceexpand). Each part's
rows go to TABLE as soon as they are measured. `--dry-run`: a tiny model on the CPU, three steps, to test the script.
"""

import csv
import importlib.util
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from benchmarks import train
from evenclip.data.shard_writer import write_shards
from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.model.clip import create_clip, save_clip
from evenclip.provenance import Manifest
from evenclip.tables import WEIGHTS_SCHEMA, write_table
from evenclip.train import TrainOptions
from evenclip.train.data import load_pairs
from evenclip.train.engine import Engine
from evenclip.train.plugin import Clock, MethodContext

WORDS = [
    "red",
    "blue",
    "old",
    "new",
    "small",
    "large",
    "dog",
    "cat",
    "man",
    "woman",
    "child",
    "street",
    "field",
    "water",
    "table",
    "chair",
    "runs",
    "sits",
    "holds",
    "eats",
]
LOADERS = 8
"""Loader processes of the peer."""


@dataclass(frozen=True)
class Size:
    """How much is measured, and with what."""

    device: str
    precision: str
    px: int
    patch: int
    width: int
    layers: int
    n_pairs: int
    batch_size: int
    n_warm: int
    n_steps: int

    def model(self) -> dict:
        """ViT-B/32's shape, or the tiny one's."""
        vision = {"image_size": self.px, "patch_size": self.patch, "width": self.width, "layers": self.layers}
        text_width = self.width * 2 // 3
        text = {"context_length": 16, "vocab_size": 49408, "width": text_width, "heads": text_width // 64 or 1,
                "layers": self.layers}  # fmt: skip
        return {"embed_dim": 512, "vision_cfg": vision | {"head_width": min(64, self.width)}, "text_cfg": text}


GPU = Size("cuda", "bf16", 224, 32, 768, 12, 4096, 1024, 10, 40)
DRY = Size("cpu", "fp32", 32, 16, 48, 1, 64, 16, 1, 3)
METHODS = {
    "plain": {},
    "compiled": {"compile": True},
    "SimCLIP": {"simclip": {}},
    "AHNM": {"ahnm": {"graph_texts": 0, "fair": False}},
    "SimCLIP and AHNM": {"simclip": {}, "ahnm": {"graph_texts": 0, "fair": False}, "mask_true": True},
    "EfficientCL": {"efficientcl": {}},
}
"""Options of the measured trainings; "weights" is the plain one with uneven copies of the pairs."""


def prepare(folder: Path, size: Size) -> None:
    """Shards, even and uneven weights, the photos as files with a table for the peer, and the model's configuration."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = []
    with write_shards(folder / "data", Manifest("data", {}, {}, seed=0), shard_size=1000) as writer:
        for i in range(size.n_pairs):
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            buffer = io.BytesIO()
            coarse.resize((size.px, size.px), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            caption = " ".join(rng.choice(WORDS, 9))
            writer.add(f"{i:06d}", buffer.getvalue(), [caption], {}, width=size.px, height=size.px, sha256="")
            path = folder / "photos" / f"{i:06d}.jpg"
            path.write_bytes(buffer.getvalue())
            rows.append([str(path), caption])
    for name, copies in (("even", np.ones(size.n_pairs)), ("uneven", rng.integers(0, 4, size.n_pairs))):
        keys = [f"{i:06d}" for i in range(size.n_pairs)]
        columns = [pa.array(keys)] + [pa.array(copies.astype(int), field.type) for field in list(WEIGHTS_SCHEMA)[1:]]
        (folder / name).mkdir()
        write_table(pa.Table.from_arrays(columns, schema=WEIGHTS_SCHEMA), folder / name / "weights.parquet")
        (folder / name / "report.json").write_text(json.dumps({"strategy": name}))
    n_shown = (size.n_warm + size.n_steps) * size.batch_size
    with open(folder / "samples.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["filepath", "title"], *(rows[i % len(rows)] for i in range(n_shown))])
    (folder / "vit.json").write_text(json.dumps(size.model()))


def measure_training(folder: Path, size: Size, weights: str, **changes) -> dict[str, float]:
    """Pairs per second after the warm-up, and the peak of the GPU's memory."""
    options = {"model": str(folder / "vit.json"), "batch_size": size.batch_size, "precision": size.precision,
               "device": size.device, "lr": 5e-4, "crop_scale_min": 0.9}  # fmt: skip
    parsed = TrainOptions.parse(options | changes, "benchmark")
    torch.manual_seed(0)
    clip = create_clip(parsed.model)
    pairs = load_pairs(folder / "data", folder / weights / "weights.parquet", clip, threads=os.cpu_count() or 1)
    clock = Clock(size.n_warm + size.n_steps)
    engine = Engine(MethodContext(parsed, clip, pairs, 0, clock, torch.device(size.device), folder / "data"))
    for _ in range(size.n_warm):
        loss = engine.step().loss.item()
    if size.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for _ in range(size.n_steps):
        loss = engine.step().loss
    loss = loss.item()  # waits for the GPU
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() / 2**30 if size.device == "cuda" else 0.0
    return {"pairs/s": size.n_steps * size.batch_size / seconds, "peak GiB": peak, "last loss": loss}


def trainings(folder: Path, size: Size) -> Iterator[dict]:
    """The plain training, and each method's share of its speed."""
    for name, options in METHODS.items():
        if name == "compiled" and size.device == "cpu":
            continue
        yield {"case": f"train: {name}"} | measure_training(folder, size, "even", **options)
    yield {"case": "train: weights"} | measure_training(folder, size, "uneven")


def peer(folder: Path, size: Size) -> Iterator[dict]:
    """open_clip's own trainer on the same photos."""
    if not all(map(importlib.util.find_spec, ("webdataset", "braceexpand"))):
        print("open_clip_train: webdataset and braceexpand are not installed; left out", file=sys.stderr)
        return
    train.BATCH_SIZE, train.N_STEPS = size.batch_size, size.n_warm + size.n_steps
    precision = "amp_bf16" if size.precision == "bf16" else size.precision
    measured = train.train_peer(folder, "vit", size.device, precision, LOADERS if size.device == "cuda" else 1)
    speed = (size.n_warm + size.n_steps - 1) * size.batch_size / measured["steps"]
    yield {"case": f"train: {train.PEER}", "pairs/s": speed, "last loss": measured["losses"][-1]}


def embedding(folder: Path, size: Size) -> Iterator[dict]:
    """`evenclip embed` of all photos and captions, reading and decoding included."""
    (folder / "run").mkdir()
    save_clip(create_clip(str(folder / "vit.json")), folder / "run")
    options = EmbedOptions(device=size.device, precision=size.precision, threads=os.cpu_count() or 1)
    started = time.perf_counter()
    embed_sets({str(folder / "run"): folder / "embedded"}, [EmbedSet("photos", folder / "data")], options)
    yield {"case": "embed", "pairs/s": size.n_pairs / (time.perf_counter() - started)}


PARTS: tuple[Callable[[Path, Size], Iterator[dict]], ...] = (trainings, peer, embedding)
COLUMNS = ["case", "pairs/s", "of plain", "peak GiB", "last loss", "model", "batch", "date", "machine"]


def _rounded(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    """Measure every part and write the table as it grows."""
    table, size = Path(sys.argv[1]), DRY if "--dry-run" in sys.argv else GPU
    machine = torch.cuda.get_device_name() if size.device == "cuda" else "dry run on a CPU"
    model = f"ViT {size.width}x{size.layers}/{size.patch} at {size.px}, {size.precision}"
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), size)
        for part in PARTS:
            for row in part(Path(name), size):
                speed = row["pairs/s"]
                plain = next((entry["pairs/s"] for entry in rows if entry["case"] == "train: plain"), speed)
                if row["case"].startswith("train"):
                    row["of plain"] = f"{speed / plain:.3f}"
                where = {
                    "model": model,
                    "batch": size.batch_size,
                    "date": time.strftime("%Y-%m-%d"),
                    "machine": machine,
                }
                rows.append(row | where)
                print({key: _rounded(row[key]) for key in COLUMNS[:5] if key in row}, flush=True)
                with open(table, "w", encoding="utf-8", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows({key: _rounded(value) for key, value in row.items()} for row in rows)


if __name__ == "__main__":
    main()
