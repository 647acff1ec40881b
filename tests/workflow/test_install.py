"""The bare installation balances and audits, is light, and says which extra a command lacks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.project import ROOT

pytestmark = pytest.mark.workflow
UV = Path(sys.executable).parent / "uv"
MAX_SIZE_MB = 400


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # not this checkout
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=cwd, env=environment, **output, text=True, timeout=600)
    assert not check or done.returncode == 0, done.stdout
    return done


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A folder with a virtual environment in which the wheel is installed without extras, and a table of labels."""
    folder = tmp_path_factory.mktemp("bare")
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    run(UV, "build", "--wheel", "--out-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    print(f"wheel: {wheel.stat().st_size / 1e6:.2f} MB")
    run(UV, "venv", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    run(UV, "pip", "install", "--python", python, "--constraint", ROOT / "requirements.txt", wheel, cwd=folder)
    rng = np.random.default_rng(0)
    woman = rng.random(400) < 0.3
    columns = {"key": [str(i) for i in range(400)], "sensitive.gender.woman": woman, "sensitive.gender.man": ~woman}
    columns["target.nurse"] = rng.random(400) < np.where(woman, 0.5, 0.2)
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    return folder


def evenclip(bare: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run(bare / "venv/bin/evenclip", *arguments, cwd=bare, check=False)


def test_a_bare_installation_is_light(bare):
    packages = bare / "venv/lib"
    size_mb = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
    names = {path.name.partition("-")[0] for path in packages.rglob("*.dist-info")}
    print(f"bare installation: {size_mb:.0f} MB, {len(names)} packages")
    assert size_mb < MAX_SIZE_MB and len(names) < 30
    assert not names & {"torch", "scikit_learn", "snakemake", "mlflow", "matplotlib"}


def test_a_bare_installation_balances_and_audits(bare):
    done = evenclip(bare, "balance", "labels.parquet", "--out", "weights", "--strategy", "m4")
    assert done.returncode == 0 and "\nm4: 400 rows" in done.stdout, done.stdout
    done = evenclip(bare, "audit", "labels.parquet", "--weights", "weights/weights.parquet")
    assert done.returncode == 0 and "AB (largest association)" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "--data", "d", "--weights", "w.parquet", "--out", "o"], "train"),
        (["embed", "--model", "m", "--set", "a=b", "--out", "o"], "train"),
        (["data", "import", "--source", "d", "--out", "o"], "train"),
        (["data", "fetch", "coco_2017"], "train"),
        (["report", "--results", "r", "--out", "o.html"], "workflow"),
        (["card", "--results", "r", "--out", "o"], "workflow"),
        (["audit", "labels.parquet", "--figures", "figures"], "figures"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_missing_extra_is_one_line_that_names_it(bare, arguments, extra):
    done = evenclip(bare, *arguments)
    assert done.returncode == 2, done.stdout
    assert f"needs the extra '{extra}'" in done.stdout and f"pip install 'evenclip[{extra}]'" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_doctor_says_what_is_there(bare):
    done = evenclip(bare, "doctor")
    assert "the extra 'train' is not installed" in done.stdout and "Traceback" not in done.stdout
