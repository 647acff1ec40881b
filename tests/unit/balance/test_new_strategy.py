"""A new strategy is one new file: options, command line and report know it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import evenclip

TOY = '''"""Half of the weight for every row: a toy."""

import numpy as np

from evenclip.balance.problem import Problem
from evenclip.balance.strategies.base import Solution, scaled


def weigh(problem: Problem) -> Solution:
    """Give all rows the same weight."""
    return scaled(problem, np.ones(len(problem.cells)))
'''


def test_strategy_is_added_by_adding_its_file(tmp_path):
    source = Path(evenclip.__file__).parent
    shutil.copytree(source, tmp_path / "src" / "evenclip", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src/evenclip/balance/strategies/halved.py").write_text(TOY)
    rng = np.random.default_rng(0)
    woman = rng.random(100) < 0.3
    flags = {"sensitive.gender.woman": woman, "target.nurse": rng.random(100) < 0.4}
    pq.write_table(pa.table({"key": [str(i) for i in range(100)], **flags}), tmp_path / "labels.parquet")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "evenclip", "balance", *arguments]
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "200"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    out = run("labels.parquet", "--out", "out", "--strategy", "halved", "--retention", "0.5")
    assert out.returncode == 0, out.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["strategy"] == "halved" and report["retention"] == 0.5
    assert set(pq.read_table(tmp_path / "out" / "weights.parquet")["weight"].to_pylist()) == {0.5}
    assert "halved" in run("--help").stdout
    assert "halved" in run("labels.parquet", "--out", "out", "--strategy", "thirded").stderr
