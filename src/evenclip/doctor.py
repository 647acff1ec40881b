"""What this installation can do, and what to do where it cannot: `evenclip doctor`."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("train", "workflow", "figures")
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
    yield _cache_is_writable(), "a cache folder for Snakemake (home, or XDG_CACHE_HOME=FOLDER) that can be written to"
    yield shutil.which("git") is not None, "git, so that manifests record the commit"
    conda = shutil.which("conda") or shutil.which("mamba")
    yield True, f"conda, for --use-conda only ({'there' if conda else 'not there'})"
    yield (
        (folder / "config/config.yaml").is_file(),
        "config/config.yaml, for the workflow: run it in the project's folder",
    )


def _packages() -> Iterator[tuple[bool, str]]:
    """Every required package that is missing or of a wrong version, and what is installed of each extra."""
    for extra, requirements in _requirements().items():
        what, install = (f"the extra '{extra}'", f"'evenclip[{extra}]'") if extra else ("the base", "evenclip")
        versions = {requirement: _version(requirement.name) for requirement in requirements}
        missing = [requirement for requirement, version in versions.items() if version is None]
        if extra and len(missing) > len(requirements) / 2:
            yield True, f"{what} is not installed; for what needs it: pip install {install}"
            continue
        for requirement in missing:
            yield False, f"{requirement.name} is missing: make, or pip install {install}"
        for requirement, version in versions.items():
            if version is not None and version not in requirement.specifier:
                yield False, f"{requirement.name} is {version}: pip install '{requirement.name}{requirement.specifier}'"
        yield True, f"{len(requirements) - len(missing)} of {len(requirements)} packages of {what} are installed"


def _requirements() -> dict[str, list[Requirement]]:
    """Requirements of the base ('') and of each extra that users install, as the package's metadata say."""
    requirements = [Requirement(text) for text in importlib.metadata.requires("evenclip") or []]
    outside = [requirement for requirement in requirements if requirement.name != "evenclip"]
    by_extra: dict[str, list[Requirement]] = {}
    for extra in ("", *EXTRAS):
        of_base = {id(requirement) for requirements in by_extra.values() for requirement in requirements}
        by_extra[extra] = [
            requirement
            for requirement in outside
            if id(requirement) not in of_base
            and (requirement.marker is None or requirement.marker.evaluate({"extra": extra}))
        ]
    return by_extra


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cache_is_writable() -> bool:
    """Whether the folder of caches, or the closest folder above it that exists, can be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")).absolute()
    try:
        with tempfile.TemporaryFile(dir=next(folder for folder in (cache, *cache.parents) if folder.exists())):
            return True
    except OSError:
        return False


def _torch() -> tuple[bool, str]:
    if importlib.util.find_spec("torch") is None:
        return True, "torch is not installed"
    try:
        import torch
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:  # builds of the two that do not match fail in many ways
        return False, f"torch and torchvision do not load together ({error}): make, in a fresh .venv"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return True, f"torch {torch.__version__} and torchvision {torchvision.__version__} on {device}"
