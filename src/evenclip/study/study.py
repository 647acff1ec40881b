"""A study: one YAML file and its ablation sheet, read and checked together, for one reproducible table."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from evenclip.errors import InputError
from evenclip.options import read_yaml, repeated
from evenclip.study.checks import check_study
from evenclip.study.runs import Run, read_runs
from evenclip.study.schema import StudyConfig


@dataclass(frozen=True)
class Study:
    """A checked study: its blocks and its runs. Use `load_study` or `Study.from_mapping`."""

    config: StudyConfig
    runs: Mapping[str, Run]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Self:
        """Check a study's values and its ablation sheet; raise `InputError` for the first thing that is wrong."""
        config = StudyConfig.parse(values, where)
        runs = read_runs(config)
        check_study(config, runs, where)
        return cls(config, runs)

    def strategies(self) -> list[str]:
        """Strategies that some run uses, in the order of the sheet."""
        return list(dict.fromkeys(run.strategy for run in self.runs.values()))

    def linking_runs(self) -> list[str]:
        """The runs whose multi-modal encoder can predict links; none where the study does not ask for it."""
        return [name for name, run in self.runs.items() if self.config.links and run.learns_links()]

    def summarize_arguments(self) -> list[str]:
        """Arguments of `evenclip summarize`: runs, seeds and sets (others are left out), and claims."""
        config = self.config
        names = {"--run": self.runs, "--seed": config.seeds, "--set": [*config.evaluate.measured, *config.vqa]}
        names |= {"--claims": config.claims, "--linking": self.linking_runs()}
        primary = [f"{claim}={metric}" for claim, metric in config.summarize.primary.items()]
        names |= {"--look": config.summarize.looks, "--primary": primary, "--null-seeds": config.null_seeds}
        return [argument for flag, values in names.items() for argument in repeated(flag, values)]


def load_study(path: str | os.PathLike) -> Study:
    """Read and check a study file; `InputError` for the first thing that is wrong."""
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise InputError("a study file is a mapping of blocks", str(path), "see config/config.yaml")
    return Study.from_mapping(values, str(path))


def gpus(device: str, elsewhere: bool = False) -> int:
    """GPUs that a job on ``device`` takes: 0 on a CPU, or where `auto` finds no NVIDIA device.

    What this machine has says nothing of a job that runs ``elsewhere``, on a cluster: there `auto` takes one.
    """
    if device == "auto":
        return int(elsewhere or Path("/dev/nvidia0").exists())
    return int(device != "cpu")
