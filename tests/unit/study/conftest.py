"""Studies name files relative to the project's folder."""

import pytest

from support.project import ROOT


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)
