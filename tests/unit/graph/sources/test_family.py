"""A format of graph sources is added by its file alone: graphs, the schema and the documents know it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evenclip.graph.sources import FORMATS
from support.project import ROOT

TOY = '''
"""Lines `head relation tail`."""

DESCRIPTION = "toy lines: words"


def read(path, graph, context):
    """Add every line."""
    for line in path.read_text().splitlines():
        head, relation, tail = line.split()
        graph.triple(graph.entity(f"toy:{head}", head), relation, graph.entity(f"toy:{tail}", tail))
'''
SHOW = """
import importlib.util, json, sys
from evenclip.study.schema import StudyConfig
spec = importlib.util.spec_from_file_location("generate", sys.argv[1])
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)
schema = StudyConfig.model_json_schema()["$defs"]["GraphBlock"]["properties"]["sources"]["propertyNames"]["enum"]
print(json.dumps([generate.graph_formats_table(), schema]))
"""


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package has one more file."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src/evenclip", source / "evenclip", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "evenclip/graph/sources/toy.py").write_text(TOY)
    return os.environ | {"PYTHONPATH": str(source)}


def python(environment: dict[str, str], *arguments: str | Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_graph_is_built_from_a_new_format(with_toy: dict[str, str], tmp_path: Path):
    (tmp_path / "lines.txt").write_text("dog chases cat\n")
    python(with_toy, "-m", "evenclip", "graph", "--source", f"toy={tmp_path}/lines.txt", "--out", tmp_path / "graph")
    (triple,) = pq.read_table(tmp_path / "graph/triples.parquet").to_pylist()
    assert (triple["head"], triple["relation"], triple["tail"]) == ("toy:dog", "toy:chases", "toy:cat")
    assert triple["source"] == "toy"


def test_a_new_format_stands_in_schema_and_documents(with_toy: dict[str, str]):
    table, names = json.loads(python(with_toy, "-c", SHOW, ROOT / "docs/generate.py"))
    assert "| `toy` | toy lines: words |" in table and names == sorted([*FORMATS, "toy"])


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_described_in_one_line(name: str):
    assert FORMATS[name].DESCRIPTION and "\n" not in FORMATS[name].DESCRIPTION
