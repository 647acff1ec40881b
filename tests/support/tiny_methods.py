"""What the methods of training read: coloured squares with labels, a graph, prompts and two kinds of weights."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import torch

from evenclip.model.clip import create_clip
from evenclip.tables import write_table
from evenclip.train import TrainOptions
from evenclip.train.data import load_pairs
from evenclip.train.distributed import Processes
from evenclip.train.engine import Engine
from evenclip.train.plugin import Clock, MethodContext
from support.tiny_training import COLORS, write_model, write_squares, write_weights

N, N_STEPS = 96, 12


def write_methods_folder(root: Path) -> Path:
    """`data/`, `weights.parquet`, `first.parquet`, `tiny.json`, `colors.yaml`, `l.parquet` and `graph/`."""
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 + i % 2 for i in range(N)})
    write_weights(root / "first.parquet", {f"{i:05d}": 2 * (i < N // 2) for i in range(N)})
    write_model(root / "tiny.json")
    prompts = {"templates": ["a {} square"], "classes": {color: [color] for color in COLORS}}
    (root / "colors.yaml").write_text(json.dumps(prompts))
    keys = [f"{i:05d}" for i in range(N)]
    groups = {f"sensitive.group.g{g}": [i % 3 == g for i in range(N)] for g in range(2)}
    write_table(
        pa.table({"key": keys} | groups | {"target.lorker": [i % 5 == 0 for i in range(N)]}), root / "l.parquet"
    )
    entities = {
        "id": keys,
        "text": [f"{list(COLORS)[i % 4]} square" for i in range(N)],
        "image_key": keys,
        "box": [[0, 0, 9, 9]] * N,
    }
    relations = {"id": ["shows"], "name": ["shows"], "text": ["shows"]}
    triples = {"head": keys[:1], "relation": ["shows"], "tail": keys[:1], "split": ["train"]}
    negatives = {"key": keys[::2], "text": [f"a square of no colour {i}" for i in range(0, N, 2)]}
    graph = {"entities": entities, "relations": relations, "triples": triples, "negatives": negatives}
    for name, table in graph.items():
        write_table(pa.table(table), root / "graph" / f"{name}.parquet")
    return root


INPUTS = {"labels": "l.parquet", "graph": "graph"}


def make_methods_engine(
    folder: Path, processes: Processes | None = None, inputs: Iterable[str] = tuple(INPUTS), **options
) -> Engine:
    """A training of `N_STEPS` steps with the methods that ``options`` switch on, given the named ``inputs``."""
    plain = {"model": str(folder / "tiny.json"), "batch_size": 16, "precision": "fp32", "device": "cpu"}
    parsed = TrainOptions.parse(plain | {"samples_seen": 16 * N_STEPS} | options, "test")
    torch.manual_seed(0)
    clip = create_clip(parsed.model, objective=parsed.objective)
    first = folder / parsed.stages.first if parsed.stages else None
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1, first=first)
    paths = {"data": folder / "data"} | {name: folder / INPUTS[name] for name in inputs}
    return Engine(MethodContext(parsed, clip, pairs, 0, Clock(N_STEPS), torch.device("cpu"), **paths), processes)
