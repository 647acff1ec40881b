"""Two commands on one output, in processes of their own: the second is refused in one line, and nothing is mixed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from evenclip.provenance import only_writer
from evenclip.tables import write_table
from evenclip.train.checkpoint import only_training
from evenclip.verify import verify
from support.example_study import LEXICON
from support.tiny_training import square_jpeg, write_model, write_squares, write_weights
from support.workflow_project import SMOKE, copy_project

pytestmark = pytest.mark.workflow
N = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the commands read."""
    import numpy as np
    import yaml

    root = tmp_path_factory.mktemp("writers")
    write_squares(root / "data", N)
    keys = [f"{i:05d}" for i in range(N)]
    write_weights(root / "weights.parquet", dict.fromkeys(keys, 1))
    flags = {"sensitive.g.x": [i % 2 > 0 for i in range(N)], "sensitive.g.y": [i % 2 == 0 for i in range(N)]}
    write_table(pa.table({"key": keys, **flags, "target.t": [i % 3 > 0 for i in range(N)]}), root / "labels.parquet")
    write_model(root / "tiny.json")
    (root / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON))
    (root / "raw").mkdir()
    for i in range(N):
        (root / "raw" / f"{i}.jpg").write_bytes(square_jpeg("red", np.random.default_rng(i)))
    assert run("train", root, root / "model").returncode == 0
    return root


def arguments(command: str, folder: Path, out: Path) -> list[str]:
    options = {"model": folder / "tiny.json", "samples_seen": 64, "batch_size": 16, "device": "cpu"}
    return {
        "balance": ["balance", f"{folder}/labels.parquet"],
        "import": ["data", "import", "--source", f"{folder}/raw"],
        "embed": ["embed", "--model", f"{folder}/model", "--set", f"mine={folder}/data"],
        "label": ["label", "--data", f"{folder}/data", "--lexicon", f"{folder}/lexicon.yaml"],
        "train": ["train", "--data", f"{folder}/data", "--weights", f"{folder}/weights.parquet", "--state",
                  f"{folder}/state", *(part for name, v in options.items() for part in ("--option", f"{name}={v}"))],
    }[command] + ["--out", str(out)]  # fmt: skip


def start(command: str, folder: Path, out: Path) -> subprocess.Popen:
    line = [sys.executable, "-m", "evenclip", *arguments(command, folder, out)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(command: str, folder: Path, out: Path) -> subprocess.CompletedProcess:
    process = start(command, folder, out)
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


COMMANDS = ["balance", "import", "embed", "label", "train"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_refused_while_another_writes(command: str, folder: Path, tmp_path: Path):
    out = tmp_path / ("out.parquet" if command == "label" else "out")
    lock = only_training(folder / "state", out) if command == "train" else only_writer(out)
    with lock:  # as the command that came first, in this process
        second = run(command, folder, out)
    assert second.returncode == 2 and not out.exists()
    error = second.stderr[second.stderr.index("error: ") :].splitlines()
    assert len(error) == 2 and f"{out}: another" in error[0] and "wait for its end" in error[1]
    assert "Traceback" not in second.stderr and second.stdout == ""
    assert run(command, folder, out).returncode == 0
    verify(out)


@pytest.mark.parametrize("command", COMMANDS)
def test_two_commands_at_once_leave_one_whole_output(command: str, folder: Path, tmp_path: Path):
    out = tmp_path / ("out.parquet" if command == "label" else "out")
    processes = [start(command, folder, out) for _ in range(2)]
    messages = [process.communicate(timeout=300)[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert sorted(statuses) in ([0, 0], [0, 2]), messages
    for status, message in zip(statuses, messages, strict=True):
        assert "Traceback" not in message and (status == 0) == ("error: " not in message), message
    verify(out)
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".tmp", ".old", ".lock")] == []


def test_a_second_study_in_one_checkout_is_refused(tmp_path: Path):
    project = copy_project(tmp_path)
    (tmp_path / "other.yaml").write_text((tmp_path / SMOKE).read_text().replace("study: smoke", "study: other"))
    target = "data/world/train/manifest.json"
    first = subprocess.Popen(project.command(target), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".snakemake/locks/*")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # so that it cannot end before the second begins
    try:
        second = project.snakemake(target, "--configfile", "other.yaml", check=False)
    finally:
        first.send_signal(signal.SIGCONT)
    text = first.communicate(timeout=300)[0].decode()
    assert second.returncode == 1 and "LockException" in second.stdout, second.stdout
    assert first.returncode == 0, text
    verify(tmp_path / "data/world/train")
