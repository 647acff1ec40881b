"""What goes wrong around a training costs no result: it says what, where and what to do, and continues."""

import json
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from evenclip.errors import InputError
from evenclip.train import TrainOptions, train_model
from evenclip.train.checkpoint import SavedState
from evenclip.train.distributed import Processes
from evenclip.train.engine import StepResult
from evenclip.train.history import check_finite
from evenclip.train.trainer import _run
from support.parallel_training import make_engine
from support.tiny_training import write_model, write_squares, write_weights

N = 64
IDENTITY = {"out": "/results/a", "seed": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faults")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 for i in range(N)})
    write_model(root / "tiny.json")
    return root


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from evenclip.train import engine as module

    monkeypatch.setattr(module, "make_parts", module.make_parts)  # puts back what make_engine replaces
    return make_engine(folder, Processes())


def train(folder: Path, root: Path, **options) -> Path:
    plain = {"model": str(folder / "tiny.json"), "samples_seen": 640, "batch_size": 32, "log_every": 2}
    parsed = TrainOptions(**plain | {"precision": "fp32", "device": "cpu", "save_every_s": 1e-6} | options)
    train_model(folder / "data", folder / "weights.parquet", root / "run", 0, root / "state", parsed)
    return root / "run" / "model.safetensors"


@contextmanager
def room_for(n_bytes: int) -> Iterator[None]:
    """No file can grow beyond ``n_bytes``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [100, 4096, 100_000])
def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, capsys: pytest.CaptureFixture, n_bytes: int):
    saved = SavedState(tmp_path, IDENTITY)
    saved.save({"position": 3})
    with room_for(n_bytes):
        saved.save({"position": 4, "module": {"w": torch.zeros(1_000_000)}})
    assert "could not be saved" in (said := capsys.readouterr().err) and "File too large" in said
    assert saved.load() == {"position": 3}
    assert sorted(path.name for path in saved.folder.iterdir()) == ["identity.json", "state.pt"]


def test_a_failed_write_leaves_nothing_and_can_be_repeated(folder: Path, tmp_path: Path):
    expected = train(folder, tmp_path / "undisturbed").read_bytes()
    with room_for(30_000), pytest.raises(InputError, match=r"run: the outputs cannot be written .*File too large"):
        train(folder, tmp_path)
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob(".run*"))
    assert train(folder, tmp_path).read_bytes() == expected


def test_a_full_disk_stops_no_training(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """On a file system of 1 MB that something else fills while the training runs."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        (small / "filler").write_bytes(bytes(1_000_000))
        options = {"model": str(folder / "tiny.json"), "samples_seen": 640, "batch_size": 32, "log_every": 2}
        parsed = TrainOptions(**options, precision="fp32", device="cpu", save_every_s=1e-6)
        paths = folder / "data", folder / "weights.parquet"
        train_model(*paths, tmp_path / "run", 0, small / "state", parsed)
        assert "No space left on device" in capsys.readouterr().err
        with pytest.raises(InputError, match="the outputs cannot be written .*No space left on device"):
            train_model(*paths, small / "run", 0, tmp_path / "state", parsed)
        assert [path.name for path in small.iterdir() if path.name != "state"] == ["filler"]
        (small / "filler").unlink()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_loss_of_nan_leaves_the_keys_of_its_batch(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"at step \d+; its batch: 000.*, \.\.\. \(all in .*not_finite.json\)"):
        train(folder, tmp_path, lr=1e30, warmup_share=0)
    (path,) = (tmp_path / "state").glob("*/not_finite.json")
    record = json.loads(path.read_text())
    assert record["step"] >= 2 and len(record["keys"]) == 32 and record["loss"] in ("nan", "inf")
    assert not (tmp_path / "run").exists()


def test_a_gradient_that_is_no_number_stops_too_but_for_float16(engine, tmp_path: Path):
    batch = engine.parts.batches.at(0)
    fine, broken = (StepResult(batch, torch.tensor(1.0), torch.tensor(norm), 0.1, {}) for norm in (2.0, float("inf")))
    engine.position = 2
    check_finite(engine, [fine, fine], None)
    with pytest.raises(InputError, match="the gradient norm is inf at step 2"):
        check_finite(engine, [fine, broken], None)
    engine.options = engine.options.model_copy(update={"precision": "fp16"})
    check_finite(engine, [fine, broken], None)


def test_a_saved_state_never_holds_a_step_that_was_not_checked(engine, tmp_path: Path):
    saved = SavedState(tmp_path, IDENTITY)
    engine.options = engine.options.model_copy(update={"log_every": 1, "save_every_s": 1e-6})
    step, n_done = engine.step, []

    def broken_at_the_third() -> StepResult:
        n_done.append(1)
        result = step()
        nan = torch.tensor(float("nan"))
        return result if len(n_done) < 3 else StepResult(result.batch, nan, result.grad_norm, result.lr, {})

    engine.step = broken_at_the_third
    with pytest.raises(InputError, match="the loss is nan at step 3"):
        _run(engine, saved, None)
    assert saved.load()["engine"]["position"] == 2


def test_each_row_of_the_history_is_passed_to_the_watcher(engine, tmp_path: Path):
    rows = []
    engine.options = engine.options.model_copy(update={"log_every": 2})
    history = _run(engine, SavedState(tmp_path, IDENTITY), rows.append)
    assert rows == history and [row["step"] for row in rows] == [2, 4]
    assert all(row["memory_mb"] > 10 and row["samples_per_second"] > 0 for row in rows)
