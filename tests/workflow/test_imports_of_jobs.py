"""What each job of the smoke study imports: a library that takes half a second is there only where it is used."""

import re

import pytest

pytestmark = pytest.mark.workflow

HEAVY = {"matplotlib", "mlflow", "open_clip", "pandas", "scipy.stats", "sklearn", "torch", "torch_geometric"}
BUDGET = {
    "label": {"pandas"},  # pyarrow imports it when it makes an array of a list
    "balance/m4": set(),
    "graph": {"pandas"},
    "evaluate/m4_seed0": set(),
    "summarize": set(),
    "card": {"pandas"},
    "report": {"pandas", "sklearn", "scipy.stats", "matplotlib"},  # for the graph's drawing sklearn imports scipy.stats
}
"""The logs of jobs, and the heavy libraries that each may import."""
IMPORTED = re.compile(r"^import time: .*\| +([\w.]+)$", re.MULTILINE)


def test_jobs_import_no_more_than_they_use(project, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    first, last = (
        [f"results/smoke/{path}" for path in paths]
        for paths in (("graph/graph.json", "balance/m4/weights.parquet"), ("report.html", "card/m4/card.html"))
    )
    project.snakemake(*first, "--forcerun", "label", "graph")
    project.snakemake("--touch")  # nothing below them is to run
    project.snakemake(*last, "--forcerun", "evaluate", "--rerun-triggers", "mtime")
    for job, budget in BUDGET.items():
        (log,) = project.folder.glob(f"logs/smoke/{job}.log")
        imported = set(IMPORTED.findall(log.read_text()))
        assert "evenclip.cli" in imported, f"{job} did not run, or did not say what it imports"
        assert imported & HEAVY <= budget, job
