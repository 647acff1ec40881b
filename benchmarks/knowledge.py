"""What learning from the graph costs: processor time of a training step with each loss; writes results/knowledge.csv.

    OMP_NUM_THREADS=1 python -m benchmarks.knowledge

One thread, float32, batches of 64 pairs and 32 triples of the embedded world's graph (scene graphs, common sense and
entities). Steps of all cases take turns, ten at a time. The pairs are the same with knowledge and without.
"""

import json
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import torch

from benchmarks.measuring import ROOT, row, run, size
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
N_STEPS, N_ROUNDS = size(10, 1), size(5, 1)


def steps_case() -> list[dict]:
    """A step with each loss, in two sizes of towers."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_world(folder, size(2000, 200))
        (folder / "wider.json").write_text(json.dumps(WIDER))
        tiny = ROOT / "config" / "models" / "world_tiny.json"
        for model, path in (("world_tiny: 48 px, width 96", tiny), ("64 px, width 128", folder / "wider.json")):
            spent = measure(folder, path)
            rows += [row(f"{model}; {case}", "ms CPU", own, spent["CLIP"], "CLIP", smaller=True)
                     for case, own in spent.items()]  # fmt: skip
    return rows


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


def measure(folder: Path, model: Path) -> dict[str, list[float]]:
    """Milliseconds of processor time of a step of each case, in each round."""
    start = folder / model.stem
    start.mkdir()
    save_clip(create_clip(str(model)), start)
    engines = {case: make_engine(folder, model, start, knowledge) for case, knowledge in CASES.items()}
    spent = {case: [] for case in engines}
    for _ in range(N_ROUNDS):
        for case, engine in engines.items():
            began = time.process_time()
            for _ in range(N_STEPS):
                engine.step()
            spent[case].append((time.process_time() - began) / N_STEPS * 1000)
    return spent


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


if __name__ == "__main__":
    run("knowledge", {"steps": steps_case})
