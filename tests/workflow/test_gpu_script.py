"""The script that measures a GPU runs, tiny and on the CPU, so that no minute of a GPU is lost to it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT

pytestmark = pytest.mark.workflow


def test_dry_run_measures_every_training(tmp_path: Path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [ROOT / "benchmarks/gpu.sh", "--dry-run", tmp_path / "gpu.csv"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "gpu.csv").read_text().splitlines()
    rows = {row["case"]: row for row in csv.DictReader(lines)}
    expected = {"train: plain", "train: SimCLIP", "train: AHNM", "train: SimCLIP and AHNM", "train: weights", "embed"}
    assert expected <= set(rows) and all(float(row["pairs/s"]) > 0 for row in rows.values())
