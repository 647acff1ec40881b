"""A copy of the project in which the smoke study has run once, for tests that then change one thing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT

PARTS = ["Snakefile", "workflow", "profiles", "config", "src", "tests/workflow/smoke.yaml", "tests/workflow/smoke.tsv"]
SMOKE = "tests/workflow/smoke.yaml"
HOSTILE = 'a finished study; $(touch pwned) `touch pwned` "quoted" ü'  # no apostrophe: MLflow's SQL fails on it
"""A legal name of a folder, in which all that a shell could take for code is only a name."""


class Project:
    """A project folder and what Snakemake does, or would do, in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run Snakemake on the smoke study as a user would, all warnings and progress in the result's text."""
        command = [Path(sys.executable).parent / "snakemake", "--cores", "2", *arguments]
        if "--configfile" not in arguments:
            command += ["--configfile", SMOKE]
        done = subprocess.run(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
        )
        assert not check or done.returncode == 0, done.stdout[-4000:]
        return done

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs that a run would start now."""
        text = self.snakemake("--dry-run", *arguments).stdout
        jobs = re.findall(r"^(?:local)?rule (\w+):$", text, re.MULTILINE)
        assert jobs or "Nothing to be done" in text, text[-4000:]
        return {rule: jobs.count(rule) for rule in jobs if rule not in ("all", "default")}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace ``old``, which must be there, in a file of the project."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new, 1))


def copy_project(folder: Path) -> Project:
    """Copy what a run needs, without its outputs."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return Project(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The smoke study, run once; read only: tests that change something take `project`."""
    project = copy_project(tmp_path_factory.mktemp(HOSTILE))
    project.snakemake()
    return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished study, to change."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder)  # keeps modification times, as `cp -a` does
    return Project(folder)
