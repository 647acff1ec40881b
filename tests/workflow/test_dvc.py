"""The reviewer's way: clone, `dvc pull`, `dvc repro` has nothing to do; metrics and plots can be compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import ROOT

pytestmark = pytest.mark.workflow

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "true",
    "GIT_AUTHOR_NAME": "tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def pinned(finished, tmp_path_factory) -> Path:
    """The smoke study's project under git and DVC, its results pushed to a local remote."""
    folder = tmp_path_factory.mktemp("pinned") / "project"
    run(folder.parent, "cp", "-a", str(finished.folder), str(folder))
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    pipeline = (ROOT / "dvc.yaml").read_text()
    pipeline = pipeline.replace("snakemake --cores all", "snakemake --cores 2 --configfile tests/workflow/smoke.yaml")
    (folder / "dvc.yaml").write_text(pipeline.replace("results/demo", "results/smoke"))
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "remote", "add", "--default", "store", str(folder.parent / "store"))
    assert "Nothing to be done" in run(folder, "dvc", "repro")  # DVC keeps the outputs, Snakemake finds them fresh
    run(folder, "dvc", "push")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "--quiet", "--message", "pinned")
    return folder


def test_a_fresh_clone_pulls_and_has_nothing_to_do(pinned, tmp_path):
    run(tmp_path, "git", "clone", "--quiet", str(pinned), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "results").exists()
    run(clone, "dvc", "pull")
    assert (clone / "results/smoke/report.html").exists()
    assert (clone / "data/world/train/00000.tar").exists()
    said = run(clone, "dvc", "repro")
    assert "Stage 'study' didn't change, skipping" in said
    assert run(clone, "dvc", "status").strip() == "Data and pipelines are up to date."


def test_metrics_can_be_compared(pinned):
    path = pinned / "results/smoke/metrics.json"
    metrics = json.loads(path.read_text())
    dvc_metrics = json.loads(run(pinned, "dvc", "metrics", "show", "--json"))
    assert dvc_metrics[""]["data"]["results/smoke/metrics.json"]["data"] == metrics
    run_name = next(iter(metrics))
    metric = next(iter(metrics[run_name]))
    before = path.read_text()
    try:
        path.write_text(json.dumps(metrics | {run_name: metrics[run_name] | {metric: 0.125}}))
        changes = json.loads(run(pinned, "dvc", "metrics", "diff", "--json"))["results/smoke/metrics.json"]
        (change,) = changes.values()
        assert change["new"] == 0.125 and change["old"] == metrics[run_name][metric]
    finally:
        path.write_text(before)


def test_plots_are_drawn(pinned, tmp_path):
    run(pinned, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    assert "summary" in (tmp_path / "plots" / "index.html").read_text()
