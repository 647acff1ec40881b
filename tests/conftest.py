"""Shared by all tests: where the real data is, and how tests that need it skip."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; skips, saying why, where it is missing."""
    folder = Path(os.environ.get("EVENCLIP_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set EVENCLIP_REAL_DATA")
    return folder
