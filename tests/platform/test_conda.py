"""The smoke study with each rule in its own environment, which a real conda makes from a channel of the test's own."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from support.conda_channel import write_channel
from support.project import ROOT
from support.workflow_project import Project, copy_project

pytestmark = pytest.mark.platform
ENVIRONMENTS = sorted((ROOT / "workflow/envs").glob("*.yaml"))


def size_gb(folder: Path) -> float:
    """Disk that a folder takes, hard links counted once."""
    return int(subprocess.check_output(["du", "-s", "-B1", folder]).split()[0]) / 1e9


def n_created(project: Project) -> int:
    """Environments that all runs of Snakemake so far have made, by its logs."""
    logs = (project.folder / ".snakemake/log").glob("*.log")
    return sum(len(re.findall(r"^Creating conda environment", log.read_text(), re.MULTILINE)) for log in logs)


@pytest.fixture(scope="module")
def with_conda(needed, tmp_path_factory) -> Project:
    """A project whose conda knows one channel, the test's own under the name conda-forge."""
    needed("conda")
    needed("patchelf")
    folder = tmp_path_factory.mktemp("conda")
    write_channel(folder / "channel/conda-forge")
    settings = {
        "channels": ["conda-forge"],
        "default_channels": [],
        "custom_channels": {"conda-forge": (folder / "channel").as_uri()},
        "channel_priority": "strict",
        "solver": "classic",
        "pkgs_dirs": [str(folder / "packages")],
        "envs_dirs": [str(folder / "envs")],
    }
    (folder / "condarc").write_text(yaml.safe_dump(settings))
    project = copy_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONDARC", str(folder / "condarc"))
        patch.delenv("PYTHONPATH", raising=False)
        yield project
    shutil.rmtree(folder)


def test_environments_are_made_once_and_the_study_runs_in_them(with_conda: Project, capsys):
    started = time.monotonic()
    with_conda.snakemake("--use-conda", "--conda-create-envs-only", timeout=7200)
    creation_s = time.monotonic() - started
    environments = with_conda.folder / ".snakemake/conda"
    assert n_created(with_conda) == len(ENVIRONMENTS)
    names = {file.stem: folder for folder in environments.iterdir() if folder.is_dir() for file in ENVIRONMENTS
             if (text := folder.with_suffix(".yaml")).exists() and text.read_text() == file.read_text()}  # fmt: skip
    assert set(names) == {file.stem for file in ENVIRONMENTS}
    started = time.monotonic()
    with_conda.snakemake("--use-conda", timeout=3600)
    study_s = time.monotonic() - started
    assert n_created(with_conda) == len(ENVIRONMENTS)  # none was made twice
    assert (with_conda.folder / "results/smoke/report.html").is_file()
    assert with_conda.planned("--use-conda") == {}
    version = subprocess.check_output(["conda", "--version"], text=True).strip()
    with capsys.disabled():
        sizes = ", ".join(f"{name} {size_gb(folder):.1f} GB" for name, folder in sorted(names.items()))
        print(f"\n{version}: environments in {creation_s:.0f} s ({sizes}); smoke study in {study_s:.0f} s")


def test_jobs_take_libraries_of_their_environment_alone(with_conda: Project):
    """Each environment's python finds its pinned versions, and the tables' has no torch."""
    for folder in (with_conda.folder / ".snakemake/conda").iterdir():
        if not folder.is_dir():
            continue
        *_, pins = yaml.safe_load(folder.with_suffix(".yaml").read_text())["dependencies"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        listed = subprocess.check_output([folder / "bin/python", "-m", "pip", "freeze"], text=True, env=environment)
        installed = {line.lower().replace("_", "-") for line in listed.splitlines()}
        assert {pin.lower().replace("_", "-") for pin in pins["pip"]} <= installed
        assert ("torch" in {pin.split("==")[0] for pin in pins["pip"]}) == any(
            line.startswith("torch==") for line in installed
        )
