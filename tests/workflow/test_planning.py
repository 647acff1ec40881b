"""Snakemake plans a study of 23 runs with 5 seeds in seconds, measured as processor time: machines may be busy."""

import resource

import pytest

from support.workflow_project import copy_project

pytestmark = pytest.mark.workflow
N_RUNS, N_SEEDS, MAX_S = 23, 5, 20


def processor_s() -> float:
    """Processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_large_study_is_planned_in_seconds(tmp_path):
    project = copy_project(tmp_path / "project")
    project.edit("tests/workflow/smoke.yaml", "seeds: [0]", f"seeds: {list(range(N_SEEDS))}")
    rows = [f"run{i}\t{'m4' if i % 2 else 'none'}\t{1e-4 * (i + 1)}" for i in range(N_RUNS)]
    (project.folder / "tests/workflow/smoke.tsv").write_text("\n".join(["run\tstrategy\ttrain.lr", *rows]) + "\n")
    before = processor_s()
    planned = project.planned()
    assert planned["train"] == N_RUNS * N_SEEDS and planned["evaluate"] == N_RUNS * N_SEEDS
    assert processor_s() - before < MAX_S
