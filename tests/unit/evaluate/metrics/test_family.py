"""A kind of task is added by its file alone: it is measured, and stands in the schema, the documents and on cards."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evenclip.metrics import known_metrics
from support.evaluate_example import arrays, truth_rows, write_data
from support.project import ROOT

TOY = '''
"""Sharpness: a metric that no other file names."""

from typing import ClassVar, Literal

from evenclip.evaluate.bootstrap import share_row
from evenclip.evaluate.measurement import Definition, Measurement


class Sharpness(Measurement):
    """Sharpness of a set."""

    metrics: ClassVar = (Definition("toy/sharpness", "how sharp the set is", "1", "[0, 1]", "0", "ours"),)

    kind: Literal["toy"] = "toy"
    """Sharpness."""
    edge: float = 1.0
    """Sharpness of every image."""

    def measure(self, data, bootstrap, options):
        """The same for every image."""
        yield share_row(f"toy/{data.name}/sharpness", data.image[:, 0] * 0 + self.edge)
'''
SHOW = """
import importlib.util, json, sys
from evenclip.study.schema import StudyConfig
from evenclip.metrics import not_measured
spec = importlib.util.spec_from_file_location("generate", sys.argv[1])
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)
schema = StudyConfig.model_json_schema()["$defs"]["Sharpness"]["properties"]
print(json.dumps([generate.metrics_table(), schema["edge"]["description"], [m.meaning for m in not_measured([])]]))
"""


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package has one more file."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src/evenclip", source / "evenclip", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "evenclip/evaluate/metrics/toy.py").write_text(TOY)
    return os.environ | {"PYTHONPATH": str(source)}


def python(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_new_metric_is_measured_and_stands_on_the_card(with_toy: dict[str, str], tmp_path: Path):
    data = write_data(tmp_path / "data", truth_rows())
    np.savez(tmp_path / "s.npz", **arrays())
    out = tmp_path / "s.json"
    given = ["--dataset", f"s={data}", "--embeddings", tmp_path / "s.npz", "--task", "toy:{edge: 0.5}"]
    python(with_toy, "-m", "evenclip", "evaluate", *given, "--out", out)
    (row,) = json.loads(out.read_text())["metrics"]
    assert (row["metric"], row["value"], row["n"]) == ("toy/s/sharpness", 0.5, 60)
    python(with_toy, "-m", "evenclip", "card", out, "--out", tmp_path / "card")
    (measured,) = json.loads((tmp_path / "card" / "card.json").read_text())["measured"]
    assert (measured["meaning"], measured["high"]) == ("how sharp the set is", 1.0)


def test_a_new_metric_stands_in_schema_documents_and_gaps(with_toy: dict[str, str]):
    table, description, missing = json.loads(python(with_toy, "-c", SHOW, ROOT / "docs/generate.py"))
    assert "| `toy` | `toy/sharpness` | how sharp the set is |" in table
    assert description == "Sharpness of every image." and "how sharp the set is" in missing


def test_the_most_specific_definition_describes_a_metric():
    names = {metric.name: re.sub(r"\{[^}]*\}", "5", metric.name) for metric in known_metrics().metrics}
    for name, example in names.items():
        if "{bias metric}" not in name:
            family, measure = example.split("/")
            assert known_metrics().of(f"{family}/a_set/{measure}").name == name
    assert known_metrics().of("bias/a_set/max_skew_at_100_prompt_range").kind == "prompt_sensitivity"
    assert known_metrics().of("bias/a_set/harm_crime_gap").name == "bias/harm_{kind}_gap"
