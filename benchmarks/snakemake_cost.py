"""What a study costs: the demo; planning scattered studies; and scheduling a study of many runs whose jobs do nothing.

    python -m benchmarks.snakemake_cost [demo] [plan-100] [plan-1000] [plan-10000] [schedule]

`demo`: from a fresh clone, installed, to the report, and again with nothing to do. `plan-N`: the weights of one
strategy in a study of N parts. `schedule`: a study of 23 runs and 5 seeds, whose jobs sleep 0.3 s. Writes
benchmarks/results/snakemake_cost.csv.
"""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.measuring import ROOT, cost, row, run, size

sys.path.insert(0, str(ROOT / "tests"))
from support.workflow_project import copy_project

WEIGHTS = "results/smoke/balance/m4/weights.parquet"
COMMAND = 'return f"python {torchrun}-m evenclip {arguments} > {{log:q}} 2>&1"'
NOTHING = (
    'return "sleep 0.3; for f in {output:q}; do'
    " case $f in */figures) mkdir -p $f;; *.json) echo '{{}}' > $f;; *) echo > $f;; esac; done\""
)
MEASURE = """
import resource
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
TICKS = os.sysconf("SC_CLK_TCK")


def demo() -> list[dict]:
    """The demo on all cores, and the same command again; in a smoke run the plan alone."""
    first, again = [], []
    for _ in range(size(3, 1)):
        with tempfile.TemporaryDirectory() as folder:
            project = copy_project(Path(folder) / "project")
            command = project.command("--cores", "all", "--configfile", "config/config.yaml", *size([], ["--dry-run"]))
            study = partial(project.run, *command)
            first.append(cost(study)[:2])
            again += [cost(study)[:2] for _ in range(size(2, 1))]
    return [
        row("2 runs, 8 seeds", "s", [wall for wall, _ in first], None, "", 120, smaller=True, threads=os.cpu_count()),
        row("2 runs, 8 seeds: CPU time", "s", [cpu for _, cpu in first], threads=os.cpu_count()),
        row("nothing to do", "s", [wall for wall, _ in again], None, "", 3, smaller=True),
        row("nothing to do: CPU time", "s", [cpu for _, cpu in again]),
    ]


def plan(n_parts: int) -> list[dict]:
    """Plan the weights of one strategy in a study of ``n_parts`` parts."""
    n_parts = size(n_parts, 3)
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        project.edit("tests/workflow/smoke.yaml", "seeds: [0]", f"seeds: [0]\nscatter: {n_parts}")
        command = [*project.command(WEIGHTS, "--dry-run", "--quiet", "all")]
        code = f"import subprocess; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL)"
        whole = [sys.executable, "-c", f"{code}{MEASURE}"]
        done = subprocess.run(whole, cwd=project.folder, capture_output=True, check=True)
    cpu_s, memory_mb = map(float, done.stdout.split())
    return [row(f"{n_parts:,} parts", "s CPU", cpu_s), row(f"{n_parts:,} parts: peak memory", "MB", memory_mb)]


def schedule() -> list[dict]:
    """Run a study whose jobs sleep, on two cores."""
    n_runs, n_seeds = size(23, 1), size(5, 1)
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        project.edit("tests/workflow/smoke.yaml", "seeds: [0]", f"seeds: {list(range(n_seeds))}")
        rows = [f"run{i}\t{'m4' if i % 2 else 'none'}\t{1e-4 * (i + 1)}" for i in range(n_runs)]
        (project.folder / "tests/workflow/smoke.tsv").write_text("\n".join(["run\tstrategy\ttrain.lr", *rows]) + "\n")
        project.edit("workflow/rules/common.smk", COMMAND, NOTHING)
        project.edit("workflow/Snakefile", "for line in closing_lines(", "for line in [] and closing_lines(")
        n_jobs = sum(project.planned().values())
        started, own_s = time.monotonic(), 0.0
        snakemake = subprocess.Popen(project.command(), cwd=project.folder, stderr=subprocess.DEVNULL)
        while snakemake.poll() is None:
            fields = Path(f"/proc/{snakemake.pid}/stat").read_text().rpartition(")")[2].split()
            own_s = sum(map(int, fields[11:13])) / TICKS or own_s
            time.sleep(0.2)
        wall_s = time.monotonic() - started
        assert snakemake.returncode == 0, "the study failed"
    case = f"{n_runs} runs, {n_seeds} seeds, {n_jobs} jobs"
    return [
        row(f"{case}: Snakemake itself", "s CPU", own_s),
        row(f"{case}: the whole study", "s", wall_s),
        row(f"{case}: share of two cores", "1", own_s / wall_s / 2, None, "", 0.05, smaller=True),
    ]


CASES = (
    {"demo": demo} | {f"plan-{n}": partial(plan, n) for n in size([100, 1000, 10_000], [100])} | {"schedule": schedule}
)

if __name__ == "__main__":
    run("snakemake_cost", CASES)
