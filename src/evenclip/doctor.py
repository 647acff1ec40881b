"""What this installation can do, and what to do where it cannot: `evenclip doctor`."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

LEAST_FREE_GB = 2.0
"""Room that the demo study needs, with a margin."""


def examine(folder: Path) -> Iterator[tuple[bool, str]]:
    """Yield (fine, sentence) for each thing that is needed; the sentence says what, and what to do where it is missing.

    Parameters
    ----------
    folder : Path
        The project's folder, where results will be written.
    """
    yield sys.version_info >= (3, 11), f"Python 3.11 or newer (this is {platform.python_version()})"
    yield from _packages()
    yield _torch()
    free_gb = shutil.disk_usage(folder).free / 1e9
    yield free_gb >= LEAST_FREE_GB, f"room for the demo study, {LEAST_FREE_GB:.0f} GB (free: {free_gb:.0f} GB)"
    yield os.access(folder, os.W_OK), f"a folder that can be written to ({folder.resolve()})"
    yield shutil.which("git") is not None, "git, so that manifests record the commit"
    conda = shutil.which("conda") or shutil.which("mamba")
    yield True, f"conda, for --use-conda only ({'there' if conda else 'not there'})"
    yield (
        (folder / "config/config.yaml").is_file(),
        "config/config.yaml, for the workflow: run it in the project's folder",
    )


def _packages() -> Iterator[tuple[bool, str]]:
    """Every required package that is missing or of another version than the package asks for; one line if none is."""
    n_fine = 0
    for text in importlib.metadata.requires("evenclip") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield False, f"{requirement.name} is missing: make, or pip install '{requirement}'"
            continue
        if version in requirement.specifier:
            n_fine += 1
        else:
            yield False, f"{requirement.name} is {version}: pip install '{requirement}'"
    yield n_fine > 0, f"{n_fine} required packages are installed in the versions asked for"


def _torch() -> tuple[bool, str]:
    try:
        import torch
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:  # builds of the two that do not match fail in many ways
        return False, f"torch and torchvision do not load together ({error}): make, in a fresh .venv"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return True, f"torch {torch.__version__} and torchvision {torchvision.__version__} on {device}"
