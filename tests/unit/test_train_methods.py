"""Each method as a switch of the training: it trains, and continues where it was stopped, with the same weights."""

from pathlib import Path

import pytest
import torch

from evenclip.model.clip import create_clip
from evenclip.train import TrainOptions
from evenclip.train.clock import Clock
from evenclip.train.engine import Engine
from evenclip.train.methods import Setting
from evenclip.train.pairs import load_pairs
from tiny_training import write_model, write_squares, write_weights

N, N_STEPS = 96, 12
METHODS = {
    "simclip": {"simclip": {"cluster_size": 4, "share": 0.5, "doublings": 1}},
    "simclip offline, by images": {"simclip": {"cluster_size": 4, "modality": "image", "online": False}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("methods")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 + i % 2 for i in range(N)})
    write_model(root / "tiny.json")
    return root


def make_engine(folder: Path, **options) -> Engine:
    plain = {"model": str(folder / "tiny.json"), "batch_size": 16, "precision": "fp32", "device": "cpu"}
    parsed = TrainOptions.parse(plain | {"samples_seen": 16 * N_STEPS} | options, "test")
    torch.manual_seed(0)
    clip = create_clip(parsed.model, objective=parsed.objective)
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    return Engine(Setting(parsed, clip, pairs, 0, Clock(N_STEPS), torch.device("cpu")))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_continues_from_the_middle_of_an_epoch(folder: Path, method: str, tmp_path: Path):
    straight, broken, restored = (make_engine(folder, lr=3e-3, **METHODS[method]) for _ in range(3))
    losses = [straight.step().loss.item() for _ in range(N_STEPS)]
    assert losses[-1] < losses[0]
    for _ in range(5):
        broken.step()
    torch.save(broken.state(), tmp_path / "state.pt")
    restored.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [restored.step().loss.item() for _ in range(N_STEPS - 5)] == losses[5:]
