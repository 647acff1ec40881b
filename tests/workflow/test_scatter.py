"""A scattered study gives what the whole one gives, and reruns only what a change concerns."""

import json

import pyarrow.parquet as pq
import pytest

from support.workflow_project import IMPORTED

pytestmark = pytest.mark.workflow

TABLES = ("label/shards.parquet", "balance/m4/weights.parquet", "balance/none/weights.parquet")
TARGETS = [f"results/smoke/{table}" for table in TABLES]


def test_scattered_labels_and_weights_are_those_of_the_whole(project):
    project.edit("tests/workflow/smoke.yaml", "data:\n", IMPORTED)
    project.edit("tests/workflow/smoke.yaml", "  dataset: world\n", "  dataset: shards\n")
    results = project.folder / "results/smoke"
    printed = project.snakemake(*TARGETS).stdout
    assert "report.html does not fit: results/smoke/balance/none/report.json: was changed" in printed
    whole = {name: (results / name).read_bytes() for name in TABLES}
    labels = json.loads((results / "label/shards.json").read_text())
    report = json.loads((results / "balance/m4/report.json").read_text())

    project.edit("tests/workflow/smoke.yaml", "seeds:", "scatter: 3\nseeds:")
    planned = project.planned(*TARGETS)
    assert planned == {
        "label_part": 3, "label": 1, "balance_count": 3, "balance_add": 1, "balance_solve": 2, "balance_apply": 6,
        "balance": 2,
    }  # fmt: skip
    project.snakemake(*TARGETS)
    for name, content in whole.items():
        path = project.folder / "whole.parquet"
        path.write_bytes(content)
        assert pq.read_table(results / name).equals(pq.read_table(path)), name
    assert json.loads((results / "label/shards.json").read_text())["columns"] == labels["columns"]
    gathered = json.loads((results / "balance/m4/report.json").read_text())
    changing = {"seconds": 0, "peak_memory_mb": 0}
    assert gathered | changing == report | changing

    assert not project.planned(*TARGETS)
    project.edit("tests/workflow/smoke.yaml", "m4: {strategy: m4}", "m4: {strategy: m4, eps_rel: 0.1}")
    assert project.planned(*TARGETS) == {"balance_solve": 1, "balance_apply": 3, "balance": 1}
