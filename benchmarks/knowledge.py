"""What learning from the graph costs: processor time of a training step with each loss; writes results/knowledge.csv.

    OMP_NUM_THREADS=1 python benchmarks/knowledge.py [--pairs 2000]

One thread, float32, batches of 64 pairs and 32 triples of the embedded world's graph (scene graphs, common sense and
entities). Steps of all cases take turns, ten at a time, and the fastest ten of each case count: what another process on
the machine takes away it takes from all. The pairs are the same with knowledge and without, so pairs/s compare.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import torch

from evenclip.data.options import WorldOptions
from evenclip.data.world.synthesize import synthesize
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.model.clip import create_clip, save_clip
from evenclip.tables import WEIGHTS_SCHEMA, write_table
from evenclip.train import TrainOptions
from evenclip.train.data import load_pairs
from evenclip.train.distributed import Processes
from evenclip.train.engine import Engine
from evenclip.train.plugin import Clock, MethodContext

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "knowledge.csv"
OFF = {"e2e": 0, "e2r": 0, "g2e": 0, "kd": 0}
CASES = {
    "CLIP": None,
    "E2E": OFF | {"e2e": 1},
    "E2R": OFF | {"e2r": 1},
    "G2E": OFF | {"g2e": 1},
    "KD, cached teacher": OFF | {"kd": 1},
    "KD, recomputed teacher": OFF | {"kd": 1, "teacher": "recomputed"},
    "all four": {},
    "the triples as captions (control)": {"as_captions": 1},
}
WIDER = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}
N_STEPS, N_ROUNDS = 10, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=2000)
    n_pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_world(folder, n_pairs)
        (folder / "wider.json").write_text(json.dumps(WIDER))
        tiny = ROOT / "config" / "models" / "world_tiny.json"
        for model, path in (("world_tiny: 48 px, width 96", tiny), ("64 px, width 128", folder / "wider.json")):
            rows += [measured(model, case, *figures) for case, figures in measure(folder, path).items()]
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_world(folder: Path, n_pairs: int) -> None:
    """Data, weights of 1 and the graph."""
    synthesize(folder / "data", "train", n_pairs, 0, WorldOptions())
    knowledge = folder / "data" / "knowledge"
    sources = {
        "visual_genome": knowledge,
        "conceptnet": knowledge / "conceptnet-assertions.csv",
        "visualsem": knowledge,
    }
    graph = [GraphSource(format, path) for format, path in sources.items()]
    build_graph(graph, folder / "graph", folder / "data", GraphOptions())
    keys = [f"{i:09d}" for i in range(n_pairs)]
    columns = [pa.array(values, field.type) for values, field in
               zip((keys, [1.0] * n_pairs, [1] * n_pairs), WEIGHTS_SCHEMA, strict=True)]  # fmt: skip
    write_table(pa.Table.from_arrays(columns, schema=WEIGHTS_SCHEMA), folder / "weights.parquet")


def measure(folder: Path, model: Path) -> dict[str, tuple[float, float]]:
    """Milliseconds of processor time of a step of each case, and how many times CLIP's."""
    start = folder / model.stem
    start.mkdir()
    save_clip(create_clip(str(model)), start)
    engines = {case: make_engine(folder, model, start, knowledge) for case, knowledge in CASES.items()}
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(N_ROUNDS):
        for case, engine in engines.items():
            began = time.process_time()
            for _ in range(N_STEPS):
                engine.step()
            best[case] = min(best[case], (time.process_time() - began) / N_STEPS * 1000)
    return {case: (value, value / best["CLIP"]) for case, value in best.items()}


def make_engine(folder: Path, model: Path, start: Path, knowledge: dict | None) -> Engine:
    init = str(start / "model.safetensors")
    values = {"model": str(model), "init": init, "precision": "fp32", "device": "cpu", "knowledge": knowledge}
    options = TrainOptions.parse(values, "benchmark")
    torch.manual_seed(0)
    clip = create_clip(options.model, options.init)
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    clock, cpu = Clock(N_STEPS * N_ROUNDS), torch.device("cpu")
    return Engine(
        MethodContext(options, clip, pairs, 0, clock, cpu, folder / "data", None, folder / "graph"), Processes()
    )


def measured(model: str, case: str, milliseconds: float, ratio: float) -> dict:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
    row = {"model": model, "case": case, "ms_per_step": f"{milliseconds:.1f}", "ratio_to_clip": f"{ratio:.2f}",
           "pairs_per_s": f"{64_000 / milliseconds:.0f}", "n_runs": N_ROUNDS, "date": f"{datetime.now(UTC):%Y-%m-%d}",
           "commit": commit.strip(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}  # fmt: skip
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
