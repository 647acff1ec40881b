"""A training killed with SIGKILL continues with the same command and ends in the same weights, bit by bit."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evenclip.train import TrainOptions, train_model
from support.tiny_training import TINY_MODEL, write_model, write_squares, write_weights

pytestmark = pytest.mark.workflow
N = 256
N_STEPS = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and model, and `state` as a killed training left it, with a copy in `state_copy`."""
    root = tmp_path_factory.mktemp("resume")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 + (i < 32) for i in range(N)})
    write_model(root / "tiny.json", vision_cfg=TINY_MODEL["vision_cfg"] | {"patch_dropout": 0.25})
    kill_once_saved(root)
    shutil.copytree(root / "state", root / "state_copy")
    return root


def options(folder: Path) -> TrainOptions:
    return TrainOptions(
        model=str(folder / "tiny.json"),
        samples_seen=N_STEPS * 32,
        batch_size=32,
        crop_scale_min=0.8,
        device="cpu",
        log_every=2,
        save_every_s=0.01,
    )


def command(folder: Path) -> list[str]:
    arguments = [argument for pair in options(folder).to_arguments() for argument in ("--option", pair)]
    return [sys.executable, "-m", "evenclip", "train", "--data", str(folder / "data"), "--out", str(folder / "run"),
            "--weights", str(folder / "weights.parquet"), "--state", str(folder / "state"), *arguments]  # fmt: skip


def kill_once_saved(folder: Path) -> None:
    """Start the training and kill it in the middle of some step or save after its first saved state."""
    process = subprocess.Popen(command(folder), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any((folder / "state").glob("*/state.pt")):
        assert process.poll() is None and time.monotonic() < deadline, "the training ended before it could be killed"
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_killed_training_ends_in_the_same_weights(folder: Path):
    assert not (folder / "run").exists()
    again = subprocess.run(command(folder), check=True, capture_output=True, text=True)
    assert "continuing at step" in again.stderr
    assert not list((folder / "state").glob("*"))
    train_model(
        folder / "data", folder / "weights.parquet", folder / "undisturbed", 0, folder / "fresh", options(folder)
    )
    weights = [(folder / run / "model.safetensors").read_bytes() for run in ("run", "undisturbed")]
    assert weights[0] == weights[1]


def test_other_options_start_a_killed_training_over(folder: Path, capsys: pytest.CaptureFixture):
    changed = options(folder).model_copy(update={"lr": 0.002, "samples_seen": 128})
    train_model(folder / "data", folder / "weights.parquet", folder / "run", 0, folder / "state_copy", changed)
    said = capsys.readouterr().err
    assert "starting over: option lr changed 0.001 -> 0.002; option samples_seen changed 4800 -> 128" in said
    assert "continuing" not in said
    assert not list((folder / "state_copy").glob("*"))
