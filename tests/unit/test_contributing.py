"""The diffs of CONTRIBUTING.md work: each adds a part, which schema, command line and stage then know."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from evenclip.summarize.claims import read_claims
from support.project import ROOT

DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)


def added(text: str) -> str:
    """The added lines of a part of a diff."""
    return "".join(f"{line[1:]}\n" for line in text.splitlines() if line.startswith("+") and not line.startswith("+++"))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package with every part of CONTRIBUTING.md added."""
    root = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "src", root / "src")
    shutil.copytree(ROOT / "config", root / "config")
    for diff in DIFFS:
        for part in re.split(r"(?m)^(?=\+\+\+ |--- )", diff)[1:]:
            path = root / part.split()[1]
            if part.startswith("+++"):
                path.write_text(added(part), encoding="utf-8")
                continue
            before, _, after = part.partition("@@ ")
            text = path.read_text(encoding="utf-8")
            if after:  # what is added before a class, and what at the top of it
                head = after.splitlines()[0]
                docstring = re.search(rf'{re.escape(head)}\n    """.*?"""\n', text, re.DOTALL)[0]
                text = text.replace(docstring, f"{added(before)}\n\n{docstring}\n{added(after)}\n")
            else:
                text += "\n" + added(before)
            path.write_text(text, encoding="utf-8")
    return root


def run(package, code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(package / "src"), "COLUMNS": "500"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def help_texts(package):
    """What `--help` of each command says, which one process asks for."""
    commands = ["balance", "evaluate", "data import", "graph", "train"]
    code = f"""
import json
from typer.testing import CliRunner
from evenclip.cli import app
print(json.dumps({{c: CliRunner().invoke(app, [*c.split(), "--help"]).output for c in {commands}}}))
"""
    return json.loads(run(package, code))


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("balance", "halved"),
        ("evaluate", "set_size"),
        ("data import", "plain_list"),
        ("graph", "pairs_of_words"),
        ("train", "smoothing"),
    ],
)
def test_help_knows_an_added_part(help_texts, command, part):
    assert part in help_texts[command]


def test_a_study_may_use_every_added_part(package):
    run(
        package,
        """
from evenclip.options import read_yaml
from evenclip.study.study import Study
values = read_yaml("config/config.yaml")
values["balance"]["m4_preserve"] = {"strategy": "halved"}
values["train"]["smoothing"] = {"weight": 0.5}
values["graph"] = {"sources": {"pairs_of_words": "words.tsv"}}
values["evaluate"]["sets"]["world_mixed"]["tasks"] = [{"kind": "set_size"}]
values["data"]["mine"] = {"source": "import", "root": "x", "options": {"layout": "plain_list"}}
study = Study.from_mapping(values, "study")
assert study.runs["m4_preserve"].options.methods()["smoothing"].weight == 0.5
""",
    )


def test_an_added_strategy_balances(package):
    run(
        package,
        """
import pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from evenclip.balance import BalanceOptions, balance
columns = {"key": [str(i) for i in range(40)], "sensitive.a.x": [i % 2 == 0 for i in range(40)]}
columns |= {"sensitive.a.y": [i % 2 == 1 for i in range(40)], "target.t": [i % 4 == 0 for i in range(40)]}
pq.write_table(pa.table(columns), "labels.parquet")
balance(Path("labels.parquet"), Path("weights"), BalanceOptions(strategy="halved"), 0)
weights = pq.read_table("weights/weights.parquet").column("weight").to_pylist()
assert len(set(weights)) == 1, set(weights)
""",
    )


def test_an_added_method_is_built(package):
    run(
        package,
        """
from evenclip.plugins import names_of
from evenclip.train.methods import smoothing
from evenclip.train.method_options import SmoothingOptions
from evenclip.train.plugin import MethodParts
options = type("Context", (), {"options": type("Options", (), {"lr": 0.1})})
assert "smoothing" in names_of("evenclip.train.methods")
parts = smoothing.build(options, SmoothingOptions())
assert isinstance(parts, MethodParts) and parts.terms[0].weight == 0.1
""",
    )


def test_an_added_claim_is_valid(package):
    assert "siglip_quality" in [claim.id for claim in read_claims(package / "config/claims.yaml")]
