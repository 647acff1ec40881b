"""pyproject, lock and conda files name the same versions, and none names a host."""

import importlib.util
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from support.project import ROOT

LOCKS = [ROOT / "requirements.txt", ROOT / "requirements-uv.txt"]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "workflow/envs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_conda_files_are_as_generated(generate):
    for path, text in generate.files().items():
        assert path.read_text() == text, f"{path.name} is out of step: run make lock"


def test_lock_satisfies_pyproject(generate):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = generate.locked_versions(LOCKS[0].read_text())
    for text in project["dependencies"] + project["optional-dependencies"]["test"]:
        requirement = Requirement(text)
        assert versions[generate.normalise(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_is_pinned_by_hash_and_names_no_host(lock):
    text = lock.read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[\w.-]+==)", text)[1:]
    assert entries and all("--hash=sha256:" in entry for entry in entries)


def test_lock_without_cuda_keeps_all_but_torch(generate):
    full, small = (generate.locked_versions(text) for text in (LOCKS[0].read_text(), generate.without_cuda()))
    dropped = set(full) - set(small)
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= dropped
    assert all(re.match(r"torch(vision)?$|triton$|nvidia-|cuda-", name) for name in dropped)
    assert {"torch-geometric", "open-clip-torch"} <= set(small)
