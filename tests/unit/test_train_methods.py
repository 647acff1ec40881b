"""Each method as a switch of the training: it trains, and continues where it was stopped, with the same weights."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from evenclip.model.clip import create_clip
from evenclip.records import write_table
from evenclip.train import TrainOptions
from evenclip.train.clock import Clock
from evenclip.train.engine import Engine
from evenclip.train.pairs import load_pairs
from evenclip.train.setting import Setting
from tiny_training import COLORS, write_model, write_squares, write_weights

N, N_STEPS = 96, 12
METHODS = {
    "simclip": {"simclip": {"cluster_size": 4, "share": 0.5, "doublings": 1}},
    "two stages": {"stages": {"first": "first.parquet", "share": 0.6}},
    "two stages of simclip": {"stages": {"first": "first.parquet", "share": 0.3}, "simclip": {"cluster_size": 4}},
    "fcl": {"fcl": {"prompts": "colors.yaml", "weight": 0.1}},
    "efficientcl": {"efficientcl": {"image_end": 0.3}},
    "efficientcl in micro batches": {"efficientcl": {}, "micro_batch_size": 4},
    "ahnm": {"ahnm": {"queue": 24}},
    "ahnm on simclip batches": {"simclip": {"cluster_size": 4}, "ahnm": {"graph_texts": 0, "fair": False}},
    "ahnm, siglip": {"ahnm": {}, "objective": "siglip"},
    "simclip offline, by images": {"simclip": {"cluster_size": 4, "modality": "image", "online": False}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("methods")
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
    entities = {"id": keys, "text": [f"{list(COLORS)[i % 4]} square" for i in range(N)], "image_key": keys}
    triples = {"head": keys[:1], "relation": ["shows"], "tail": keys[:1]}
    relations = {"id": ["shows"], "text": ["shows"]}
    negatives = {"key": keys[::2], "text": [f"a square of no colour {i}" for i in range(0, N, 2)]}
    graph = {"entities": entities, "relations": relations, "triples": triples, "negatives": negatives}
    for name, table in graph.items():
        write_table(pa.table(table), root / "graph" / f"{name}.parquet")
    return root


def make_engine(folder: Path, **options) -> Engine:
    plain = {"model": str(folder / "tiny.json"), "batch_size": 16, "precision": "fp32", "device": "cpu"}
    parsed = TrainOptions.parse(plain | {"samples_seen": 16 * N_STEPS} | options, "test")
    torch.manual_seed(0)
    clip = create_clip(parsed.model, objective=parsed.objective)
    first = folder / parsed.stages.first if parsed.stages else None
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1, first=first)
    paths = folder / "data", folder / "l.parquet", folder / "graph"
    return Engine(Setting(parsed, clip, pairs, 0, Clock(N_STEPS), torch.device("cpu"), *paths))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_continues_from_the_middle_of_an_epoch(
    folder: Path, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    straight, broken, restored = (make_engine(folder, lr=3e-3, **METHODS[method]) for _ in range(3))
    losses = [straight.step().loss.item() for _ in range(N_STEPS)]
    assert losses[-1] < losses[0]
    for _ in range(5):
        broken.step()
    torch.save(broken.state(), tmp_path / "state.pt")
    restored.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [restored.step().loss.item() for _ in range(N_STEPS - 5)] == losses[5:]


def test_mined_negatives_are_logged_and_told_as_examples(folder: Path):
    trained = make_engine(folder, ahnm={"queue": 24, "top_k": 10, "strength_start": 1})
    outcomes = [trained.step() for _ in range(3)]
    names = {"band_low", "band_high", "masked", "strength", "rb", "ab"}
    assert set(outcomes[-1].scalars) == {f"negatives_{name}" for name in names}
    table = trained.parts.negatives.tables()["negatives"].to_pydict()
    assert set(table["step"]) == {1, 2, 3}
    assert set(table["source"]) == {"batch", "queue", "graph"}
    assert all(text.startswith("a square of no") == (source == "graph")
               for text, source in zip(table["negative_text"], table["source"], strict=True))  # fmt: skip
