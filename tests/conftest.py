"""Shared by all tests: where the real data is, and how tests that need it skip; a made-up study."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from support.example_study import write_example_study
from support.project import REAL_DATA

# elsewhere examples are drawn anew in every run; CI must say the same of the same commit
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; skips, saying why, where it is missing."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set EVENCLIP_REAL_DATA")
    return REAL_DATA


@pytest.fixture(scope="session")
def example_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up study under data/ and results/; do not change it."""
    root = tmp_path_factory.mktemp("example")
    write_example_study(root)
    return root


@pytest.fixture
def study_folder(example_root: Path, tmp_path: Path) -> Path:
    """A copy of the made-up study's results folder that a test may change."""
    shutil.copytree(example_root, tmp_path, dirs_exist_ok=True)
    return tmp_path / "results" / "demo"
