"""Saved states: found again by an equal training, dropped with a reason by a changed one, safe when damaged."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evenclip.errors import InputError
from evenclip.train.checkpoint import SavedState, only_training

IDENTITY = {"out": "/results/a", "seed": 0, "option": {"lr": 0.001, "batch_size": 4}, "torch": "2"}
STATE = {"position": 3, "module": {"w": torch.ones(2)}, "history": [{"loss": 1.0}]}


def test_an_equal_training_finds_what_was_saved(tmp_path: Path):
    SavedState(tmp_path, IDENTITY).save(STATE)
    state = SavedState(tmp_path, IDENTITY).load()
    assert state["position"] == 3 and torch.equal(state["module"]["w"], torch.ones(2))


def test_a_changed_training_starts_over_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture):
    SavedState(tmp_path, IDENTITY).save(STATE)
    changed = SavedState(tmp_path, IDENTITY | {"option": {"lr": 0.002, "batch_size": 4}})
    assert changed.load() is None
    assert "starting over: option lr changed 0.001 -> 0.002 since" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00"])
def test_a_damaged_identity_of_another_run_is_left_alone(tmp_path: Path, content: str):
    other = SavedState(tmp_path, IDENTITY | {"out": "/results/b"})
    other.save(STATE)
    (other.folder / "identity.json").write_text(content)
    SavedState(tmp_path, IDENTITY).save(STATE)
    assert SavedState(tmp_path, IDENTITY).load()["position"] == 3 and other.load() is not None


def test_the_state_of_another_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    SavedState(tmp_path, IDENTITY).save(STATE)
    assert SavedState(tmp_path, IDENTITY | {"out": "/results/b"}).load() is None
    assert SavedState(tmp_path, IDENTITY).load() is not None
    assert not capsys.readouterr().err


def test_a_training_that_ends_meanwhile_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    SavedState(tmp_path, IDENTITY).save(STATE)

    def vanished(path: Path, **_: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", vanished)
    assert SavedState(tmp_path, IDENTITY | {"out": "/results/b"}).load() is None


def test_a_damaged_state_starts_over_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture):
    saved = SavedState(tmp_path, IDENTITY)
    saved.save(STATE)
    path = saved.folder / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    assert SavedState(tmp_path, IDENTITY).load() is None
    assert "is damaged" in capsys.readouterr().err


def test_removing_the_state_leaves_no_files(tmp_path: Path):
    saved = SavedState(tmp_path, IDENTITY)
    saved.save(STATE)
    saved.remove()
    assert not list(tmp_path.iterdir())


def test_a_model_is_trained_by_one_process_at_a_time(tmp_path: Path):
    with only_training(tmp_path / "state", tmp_path / "a"):
        again = only_training(tmp_path / "state", tmp_path / "a")
        with pytest.raises(InputError, match="another process is training this model"), again:
            pass
        with only_training(tmp_path / "state", tmp_path / "b"):
            pass
    with only_training(tmp_path / "state", tmp_path / "a"):
        pass
    assert not list((tmp_path / "state").iterdir())


def test_a_process_that_is_killed_holds_no_lock(tmp_path: Path):
    code = f"""
import os, signal
from pathlib import Path
from evenclip.train.checkpoint import only_training
with only_training(Path({str(tmp_path)!r}), Path("a")):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with only_training(tmp_path, Path("a")):
        pass
