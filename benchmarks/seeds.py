"""Measure many seeds in one process against one job for each; writes benchmarks/results/seeds.csv.

    python benchmarks/seeds.py [--study config/studies/photos.yaml] [--run baseline] [--together 20] [--alone 2]

A model counts when it is trained, embedded and measured on all sets of the study. Data, labels, weights and trunk
features must be there already (run the study first): both sides read the same. The processor time of Snakemake and all
its jobs, on one core, is compared, so that other work on the machine does not matter much; the seconds on the clock are
in the table too.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from balance import row, write_csv

from evenclip.study.study import Study, load_study

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "results" / "seeds.csv"
SHARED = ("label", "balance", "graph", "features")
"""Folders of a study's results that trainings read."""


def main() -> None:
    """Measure both sides and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="config/studies/photos.yaml")
    parser.add_argument("--run", default="baseline")
    parser.add_argument("--together", type=int, default=20, help="seeds of the one job")
    parser.add_argument("--alone", type=int, default=2, help="seeds with a job each")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    study = load_study(arguments.study)
    measured = {
        mode: measure(study, arguments.study, arguments.run, mode, list(range(n_seeds)))
        for mode, n_seeds in (("all", arguments.together), ("one", arguments.alone))
    }
    name = f"{study.config.study}, {arguments.run}: one model trained, embedded and measured on "
    name += f"{len(study.config.evaluate.sets)} sets"
    peer = f"one Snakemake job for each of {arguments.alone} seeds"
    units = (("s CPU", 5.0), ("s on the clock", None))
    rows = [
        row(f"{name}; {arguments.together} seeds in one process", unit, ours, alone, peer, target, 1)
        for (unit, target), ours, alone in zip(units, measured["all"], measured["one"], strict=True)
    ]
    write_csv(TABLE, rows)
    print(TABLE.read_text(encoding="utf-8"))


def measure(study: Study, path: str, run: str, mode: str, seeds: list[int]) -> tuple[float, float]:
    """Processor time and time on the clock for one seed, in s."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in ("Snakefile", "workflow", "config", "src", "data", "models"):
            (project / name).symlink_to(ROOT / name)
        for name in SHARED:
            if (source := ROOT / study.config.results / name).exists():
                shutil.copytree(source, project / study.config.results / name, copy_function=os.link)
        targets = [
            f"{study.config.results}/evaluate/{run}/seed{seed}/{name}.json"
            for seed in seeds
            for name in study.config.evaluate.sets
        ]
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", path, "--rerun-triggers", "mtime"]
        command += ["--config", f"seeds={seeds}", f"seeds_per_job={mode}", "--", *targets]
        before, started = processor_time(), time.perf_counter()
        subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (processor_time() - before) / len(seeds), (time.perf_counter() - started) / len(seeds)


def processor_time() -> float:
    """Processor time of all finished child processes, in s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
