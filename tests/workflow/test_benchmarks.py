"""Every benchmark still runs, tiny: its figures mean nothing here, but its cases, checks and tables do."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT

pytestmark = pytest.mark.workflow
SHARED = {"measuring", "data_contestants", "gpu"}
"""Modules that are no benchmarks of their own, and the one of a GPU, which test_gpu_script.py runs."""
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in SHARED)


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    own = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")} | environment
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_all_its_cases_tiny(name: str, tmp_path: Path):
    done = run(name, "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    skipped = [line for line in done.stdout.splitlines() if ": skipped: " in line]
    tables = sorted(tmp_path.iterdir())
    assert tables or skipped, done.stdout
    if not tables:
        pytest.skip(skipped[0])
    for table in tables:
        if table.suffix == ".md":  # goes into a document
            assert table.read_text().startswith("| ")
            continue
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows and (ROOT / "benchmarks/results" / table.name).exists()


def test_a_table_is_refused_where_a_condition_does_not_hold(tmp_path: Path):
    done = run("batches", "clusters", "--out", str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stdout) == (2, "") and not list(tmp_path.iterdir())
    assert "PYTHONDONTWRITEBYTECODE is set" in done.stderr
    done = run("batches", "clusters", "--out", str(tmp_path), OMP_NUM_THREADS="")
    assert done.returncode == 2 and "OMP_NUM_THREADS" in done.stderr


def test_figures_of_a_smoke_run_are_no_results():
    done = run("batches", "--smoke")
    assert done.returncode == 2 and "give --out" in done.stderr
    assert run("batches", "nothing", "--smoke", "--out", "x").returncode == 2
