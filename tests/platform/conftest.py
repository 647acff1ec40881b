"""Platforms that a machine may not have: their tests are run by name (`make test-conda`), never skipped."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.services import Services


@pytest.fixture(scope="session")
def needed() -> Callable[[str], Path]:
    """Path of a program, without which a test fails rather than say that all is well."""

    def path_of(program: str) -> Path:
        path = shutil.which(program)
        if path is None:
            pytest.fail(f"{program} is not on PATH: docs/platforms.md says what each platform test needs")
        return Path(path)

    return path_of


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """The servers, by the environments and the PostgreSQL that `make test-services` names."""
    names = ("EVENCLIP_SERVICES_PYTHON", "EVENCLIP_OLDER_PYTHON", "EVENCLIP_POSTGRES")
    with Services(*(Path(os.environ[name]) for name in names)) as services:
        yield services
