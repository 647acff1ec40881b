"""Measure many seeds in one process against one job for each; writes benchmarks/results/seeds.csv.

    python -m benchmarks.seeds

A model counts when it is trained, embedded and measured on all sets of the study. Data, labels, weights and trunk
features must be there already (run the study first): both sides read the same. The processor time of Snakemake and all
its jobs, on one core, is compared, so that other work on the machine does not matter much; the seconds on the clock are
in the table too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import ROOT, Missing, cost, row, run, size
from evenclip.study.study import Study, load_study

STUDY, RUN = "config/studies/photos.yaml", "baseline"
TOGETHER, ALONE, N_RUNS = size(20, 2), size(2, 1), size(3, 1)
SHARED = ("label", "balance", "graph", "features")
"""Folders of a study's results that trainings read."""


def photos_case() -> list[dict]:
    """The baseline of the photo study."""
    study = load_study(STUDY)
    for name in SHARED:
        if not (ROOT / study.config.results / name).exists():
            raise Missing(f"no {study.config.results}/{name}: run the study first (make study-photos)")
    together, alone = [], []
    for _ in range(N_RUNS):
        together.append(measure(study, "all", range(TOGETHER)))
        alone.append(measure(study, "one", range(ALONE)))
    name = f"{RUN}: one model trained, embedded and measured on {len(study.config.evaluate.measured)} sets"
    name += f"; {TOGETHER} seeds in one process"
    peer = f"a Snakemake job for each of {ALONE} seeds"
    units = (("s CPU", 5.0), ("s on the clock", None))
    return [
        row(name, unit, ours, theirs, peer, target)
        for (unit, target), ours, theirs in zip(units, np.transpose(together), np.transpose(alone), strict=True)
    ]


def measure(study: Study, mode: str, seeds: Sequence[int]) -> tuple[float, float]:
    """Processor time and time on the clock for one seed, in s."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in ("Snakefile", "workflow", "config", "src", "data", "models"):
            (project / name).symlink_to(ROOT / name)
        for name in SHARED:
            if (source := ROOT / study.config.results / name).exists():
                shutil.copytree(source, project / study.config.results / name, copy_function=os.link)
        targets = [
            f"{study.config.results}/evaluate/{RUN}/seed{seed}/{name}.json"
            for seed in seeds
            for name in study.config.evaluate.measured
        ]
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", STUDY]
        command += ["--rerun-triggers", "mtime", "--config", f"seeds={list(seeds)}", f"seeds_per_job={mode}"]
        command += ["--", *targets]
        wall, spent, _ = cost(lambda: subprocess.run(command, cwd=project, check=True, capture_output=True))
        return spent / len(seeds), wall / len(seeds)


if __name__ == "__main__":
    run("seeds", {"photos": photos_case})
