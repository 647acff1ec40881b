"""A training killed at random moments, again and again, ends in the weights of an undisturbed one, bit by bit.

A few kills here; the full test is EVENCLIP_KILLS=20 pytest -m workflow tests/workflow/test_kills.py
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.tiny_training import TINY_MODEL, write_model, write_squares, write_weights

pytestmark = pytest.mark.workflow
N_KILLS = int(os.environ.get("EVENCLIP_KILLS", "3"))
N_STEPS = 150 * N_KILLS
BETWEEN_S = 1.5  # the longest that a training runs, once it steps, before it is killed
PROCESSES = {
    "one process": [],
    "two processes": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kills")
    write_squares(root / "data", 256)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 + (i < 32) for i in range(256)})
    write_model(root / "tiny.json", vision_cfg=TINY_MODEL["vision_cfg"] | {"patch_dropout": 0.25})
    return root


def start(folder: Path, name: str, launcher: list[str]) -> subprocess.Popen:
    """A training in a process group of its own; its messages go to <name>.log."""
    options = {"model": folder / "tiny.json", "samples_seen": N_STEPS * 32, "batch_size": 32, "crop_scale_min": 0.8}
    options |= {"device": "cpu", "log_every": 2, "save_every_s": 0.1, "ema": 0.99, "micro_batch_size": 16}
    arguments = [argument for key, value in options.items() for argument in ("--option", f"{key}={value}")]
    command = [sys.executable, *launcher, "-m", "evenclip", "train", "--data", str(folder / "data"),
               "--weights", str(folder / "weights.parquet"), "--out", str(folder / name / "run"),
               "--state", str(folder / name / "state"), *arguments]  # fmt: skip
    (folder / name).mkdir(exist_ok=True)
    with open(folder / name / "log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def children(pid: int) -> list[int]:
    """Processes started by ``pid``."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(process: subprocess.Popen, draw: random.Random, n_processes: int) -> None:
    """Kill all processes at once or, of several, one worker, whose end torchrun must notice."""
    workers = children(process.pid) if n_processes > 1 else []
    if workers and draw.random() < 0.5:
        os.kill(draw.choice(workers), signal.SIGKILL)
        assert process.wait(timeout=120) != 0
        return
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for worker in workers:  # torchrun gives each a session of its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
@pytest.mark.parametrize("name", PROCESSES)
def test_a_training_killed_at_random_ends_in_the_same_weights(folder: Path, name: str):
    launcher = PROCESSES[name]
    started = time.monotonic()
    undisturbed = f"{name} undisturbed"
    assert start(folder, undisturbed, launcher).wait(timeout=1200) == 0, (folder / undisturbed / "log").read_text()
    print(f"{name}: undisturbed in {time.monotonic() - started:.0f} s")
    draw = random.Random(0)
    for number in range(N_KILLS):
        process = start(folder, name, launcher)
        starting_s = 60 if number % 4 else draw.uniform(0, 8)  # each fourth may die before its first step
        log = folder / name / "log"
        n_before, deadline = log.read_bytes().count(b"decode images"), time.monotonic() + starting_s
        while log.read_bytes().count(b"decode images") == n_before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, BETWEEN_S))
        assert process.poll() is None, f"ended after {number} kills:\n{log.read_text()}"
        kill(process, draw, 1 + bool(launcher))
    assert start(folder, name, launcher).wait(timeout=1200) == 0, log.read_text()
    n_continued = log.read_text().count("continuing at step")
    print(f"{name}: {N_KILLS} kills, continued {n_continued} times")
    assert n_continued >= 1
    weights = [(folder / run / "run" / "model.safetensors").read_bytes() for run in (name, undisturbed)]
    assert weights[0] == weights[1]
    assert not list((folder / name / "state").glob("*"))
