"""A copy of the project in which tests run Snakemake as a user would."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.project import ROOT

PARTS = ["Snakefile", "workflow", "profiles", "config", "src", "tests/workflow/smoke.yaml", "tests/workflow/smoke.tsv"]
SMOKE = "tests/workflow/smoke.yaml"
"""The smallest study that runs every rule."""

IMPORTED = """data:
  shards:
    source: import
    root: data/world
    splits: [train]
    options: {layout: webdataset, shard_size: 70}
"""
"""A block of a study: the training pairs of the world, imported in several shards."""


class Project:
    """A project folder and what Snakemake does, or would do, in it."""

    def __init__(self, folder: Path, first_output: str = ""):
        self.folder = folder
        self.first_output = first_output

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs Snakemake on the smoke study, or on another that the arguments name."""
        command = [str(Path(sys.executable).parent / "snakemake"), *arguments]
        if "--cores" not in arguments:
            command += ["--cores", "2"]
        if "--configfile" not in arguments:
            command += ["--configfile", SMOKE]
        return command

    def snakemake(self, *arguments: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess:
        """Run Snakemake, with all warnings and progress in the result's text."""
        return self.run(*self.command(*arguments), check=check, timeout=timeout)

    def run(self, *command: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess:
        """Run a command in the project's folder, with its errors in the result's text."""
        done = subprocess.run(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
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
