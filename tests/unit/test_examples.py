"""Examples of docstrings and documents run, the documents' commands are valid, and notebooks have no output."""

import doctest
import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from evenclip.cli import app
from support.project import ROOT

SRC = ROOT / "src"
WITH_EXAMPLES = [path for path in sorted(SRC.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = typer.main.get_command(app)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(SRC)))
def test_examples_of_docstrings_give_what_they_show(path: Path):
    name = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted and not results.failed


def code_of(page: Path) -> list[str]:
    """Fenced Python code of a page."""
    return [code for language, code in FENCED.findall(page.read_text(encoding="utf-8")) if language == "python"]


@pytest.fixture
def names_of_the_pages(tmp_path, monkeypatch) -> dict:
    """What the pages take as given: a table `photos.csv`, its weights, embeddings and a PyTorch data set."""
    monkeypatch.chdir(tmp_path)
    torch_data = importlib.import_module("torch.utils.data")
    rng = np.random.default_rng(0)
    n = 400
    columns = {"photo": [f"{i}.jpg" for i in range(n)], "gender": rng.choice(["woman", "man", ""], n)}
    photos = pd.DataFrame(columns | {label: rng.integers(0, 2, n) for label in ("nurse", "pilot")})
    photos.to_csv("photos.csv", index=False)
    options = "--key photo --attribute gender --label nurse --label pilot --out balanced"
    CliRunner().invoke(app, ["balance", "photos.csv", *options.split()], catch_exceptions=False)
    return {
        "image_embeddings": rng.normal(size=(n, 8)),
        "class_embeddings": rng.normal(size=(3, 8)),
        "labels": rng.integers(0, 3, n),
        "perceived_gender": rng.choice(["woman", "man"], n),
        "dataset": range(n),
        "keys": columns["photo"],
        "DataLoader": torch_data.DataLoader,
        "Subset": torch_data.Subset,
    }


@pytest.mark.parametrize("page", [page for page in PAGES if code_of(page)], ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path, names_of_the_pages):
    for code in code_of(page):
        exec(compile(code, str(page), "exec"), names_of_the_pages)


def commands_of(text: str) -> list[list[str]]:
    """Words of each `evenclip ...` line, with its continuation lines; abridged ones ("...", "[...]") are left out."""
    lines = re.findall(r"^ *(?:\$ )?evenclip (.+)$", text.replace("\\\n", " "), re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in lines]
    return [words for words in commands if "..." not in words and not any(word.startswith("[") for word in words)]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands_of(page.read_text(encoding="utf-8"))], ids=lambda page: page.name
)
def test_commands_of_a_page_are_valid(page: Path):
    for words in commands_of(page.read_text(encoding="utf-8")):
        command = COMMAND
        while hasattr(command, "commands") and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        assert not hasattr(command, "commands"), words
        command.make_context(command.name, words)


def test_a_wrong_command_would_be_noticed():
    [words] = commands_of("    evenclip balance photos.csv --attribut gender \\\n        --out x  # a comment\n")
    assert words == ["balance", "photos.csv", "--attribut", "gender", "--out", "x"]
    with pytest.raises(Exception, match="No such option: --attribut"):
        COMMAND.commands["balance"].make_context("balance", words[1:])


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_output(path: Path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["source"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
