"""The doctor finds this installation fine, and says what is missing."""

import importlib.metadata

from evenclip import doctor
from support.project import ROOT


def test_this_installation_is_fine():
    assert [sentence for fine, sentence in doctor.examine(ROOT) if not fine] == []


def test_missing_and_old_packages_are_reported(monkeypatch, tmp_path):
    def version(name):
        if name == "mlflow":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "dvc" else real(name)

    real = importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    problems = [sentence for fine, sentence in doctor.examine(tmp_path) if not fine]
    assert len(problems) == 3
    assert problems[0].startswith("mlflow is missing") and "evenclip[workflow]" in problems[0]
    assert problems[1].startswith("dvc is 0.1")
    assert "config/config.yaml" in problems[2]


def test_a_home_that_cannot_be_written_is_said(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nope")
    assert ["XDG_CACHE_HOME" in sentence for fine, sentence in doctor.examine(ROOT) if not fine] == [True]
