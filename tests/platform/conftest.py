"""Platforms that a machine may not have: their tests are run by name (`make test-conda`), never skipped."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def needed() -> Callable[[str], Path]:
    """Path of a program, without which a test fails rather than say that all is well."""

    def path_of(program: str) -> Path:
        path = shutil.which(program)
        if path is None:
            pytest.fail(f"{program} is not on PATH: docs/platforms.md says what each platform test needs")
        return Path(path)

    return path_of
