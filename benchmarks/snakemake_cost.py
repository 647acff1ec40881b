"""What Snakemake itself costs: planning scattered studies, and scheduling a study of many runs whose jobs do nothing.

    python benchmarks/snakemake_cost.py plan 100 1000 10000       # parts
    python benchmarks/snakemake_cost.py schedule 23 5             # runs, seeds; each job sleeps 0.3 s

Prints processor time, which other work on the machine disturbs less than the clock, and memory. docs/scale.md and
docs/workflow.md have the figures.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.workflow_project import Project, copy_project

WEIGHTS = "results/smoke/balance/m4/weights.parquet"
COMMAND = 'return f"python {torchrun}-m evenclip {arguments} > {{log:q}} 2>&1"'
NOTHING = (
    'return "sleep 0.3; for f in {output:q}; do'
    " case $f in */figures) mkdir -p $f;; *.json) echo '{{}}' > $f;; *) echo > $f;; esac; done\""
)
TICKS = os.sysconf("SC_CLK_TCK")


def plan(project: Project, n_parts: int) -> None:
    """Plan the weights of one strategy in a study of ``n_parts`` parts."""
    project.edit("tests/workflow/smoke.yaml", "seeds: [0]", f"seeds: [0]\nscatter: {n_parts}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.snakemake(WEIGHTS, "--dry-run", "--quiet", "all", timeout=7200)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{n_parts} parts: {cpu_s:.1f} s of processor time, {after.ru_maxrss / 1024:.0f} MB", flush=True)


def schedule(project: Project, n_runs: int, n_seeds: int) -> None:
    """Run a study whose jobs sleep on two cores."""
    project.edit("tests/workflow/smoke.yaml", "seeds: [0]", f"seeds: {list(range(n_seeds))}")
    rows = [f"run{i}\t{'m4' if i % 2 else 'none'}\t{1e-4 * (i + 1)}" for i in range(n_runs)]
    (project.folder / "tests/workflow/smoke.tsv").write_text("\n".join(["run\tstrategy\ttrain.lr", *rows]) + "\n")
    project.edit("workflow/rules/common.smk", COMMAND, NOTHING)
    project.edit("workflow/Snakefile", "for line in closing_lines(", "for line in [] and closing_lines(")
    started, own_s = time.monotonic(), 0.0
    snakemake = subprocess.Popen(project.command(), cwd=project.folder, stderr=subprocess.DEVNULL)
    while snakemake.poll() is None:
        fields = Path(f"/proc/{snakemake.pid}/stat").read_text().rpartition(")")[2].split()
        own_s = sum(map(int, fields[11:13])) / TICKS or own_s
        time.sleep(0.2)
    wall_s = time.monotonic() - started
    assert snakemake.returncode == 0, "the study failed"
    share = own_s / wall_s / 2
    print(
        f"{n_runs} runs, {n_seeds} seeds: {own_s:.1f} s of processor time in {wall_s:.0f} s, {share:.1%} of two cores"
    )


def main() -> None:
    """Run the case named on the command line."""
    case, *numbers = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        if case == "schedule":
            schedule(copy_project(Path(folder) / "project"), *map(int, numbers))
        else:
            for n_parts in map(int, numbers):
                plan(copy_project(Path(folder) / str(n_parts)), n_parts)


if __name__ == "__main__":
    main()
