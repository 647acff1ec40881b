"""pyproject, lock and conda files name the same versions, and none names a host."""

import ast
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


@pytest.fixture(scope="module")
def files(generate):
    return generate.files()


def test_conda_files_are_as_generated(files):
    for path, text in files.items():
        assert path.read_text() == text, f"{path.name} is out of step: run make lock"


def test_lock_satisfies_pyproject(generate):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = generate.locked_versions(LOCKS[0].read_text())
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + [
        text for extra in ("train", "figures", "workflow", "test", "docs") for text in extras[extra]
    ]
    for requirement in map(Requirement, texts):
        if requirement.name != "evenclip":  # an extra that takes in another
            assert versions[generate.normalise(requirement.name)] in requirement.specifier


def test_conda_channels_are_channels(files):
    texts = [path.read_text() for path in files]
    assert all("channels:\n  - conda-forge\ndependencies:" in text for text in texts)


def test_each_environment_has_what_its_stages_import(generate):
    stages = generate.stages_by_environment()
    assert {name: sorted(stages[name])[:1] for name in stages} == {
        "tables": ["evenclip.balance"], "torch": ["evenclip.embed"], "mlflow": ["evenclip.track"]
    }  # fmt: skip
    everywhere = set().union(*stages.values())
    training = generate.distributions_of("evenclip.train", everywhere)
    assert {"torch", "safetensors", "torch-geometric", "transformers"} <= training
    assert "torch" not in generate.distributions_of("evenclip.evaluate", everywhere)
    assert generate.distributions_of("evenclip.balance", everywhere) <= {
        "numpy", "scipy", "pyarrow", "pandas", "pydantic", "pyyaml", "typer", "rich", "matplotlib"
    }  # fmt: skip
    # of these matplotlib is in an extra: the picture of `balance --frontier` alone needs it


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


def test_every_import_is_declared(generate):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {generate.normalise(name) for name in generate.requirements(project, "all", "photos")}
    sources = (ROOT / "src").rglob("*.py")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources]
    imported = {generate.distribution_of(module) for tree in trees for module in generate.imported(tree)}
    assert imported - {"evenclip"} <= declared
