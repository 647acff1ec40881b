"""Fingerprints follow what code does, and nothing else."""

import json
import sys

import pytest

from evenclip import code_fingerprint as fingerprints
from evenclip.code_fingerprint import code_fingerprint


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same name with two stages, one of which imports the other's module."""
    root = tmp_path / "evenclip"
    for folder in ("balance", "report"):
        (root / folder).mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "records.py").write_text('"""Tables."""\n\nLIMIT = 1\n')
    (root / "balance/__init__.py").write_text("from evenclip.balance.solver import solve\n")
    (root / "balance/solver.py").write_text(
        "def solve():\n    from evenclip import records\n\n    return records.LIMIT\n"
    )
    (root / "report/__init__.py").write_text("def write():\n    return 1\n")
    (root / "report/page.html").write_text("<p>")
    monkeypatch.setattr(fingerprints, "SOURCE", tmp_path)

    def forget():
        fingerprints._imports_and_code.cache_clear()
        fingerprints._kept_parses.cache_clear()
        code_fingerprint.cache_clear()

    def measure(stage):
        forget()
        return code_fingerprint(f"evenclip.{stage}")

    yield root, measure
    forget()


def test_comment_docstring_and_format_change_nothing(package):
    root, measure = package
    before = measure("balance")
    (root / "balance/solver.py").write_text(
        '"""New docstring."""\n# comment\n\n\ndef solve():\n    """What it does."""\n'
        "    from evenclip import records\n    return (records.LIMIT)\n"
    )
    assert measure("balance") == before


@pytest.mark.parametrize("edited", ["balance/solver.py", "records.py"])
def test_an_edit_changes_the_stages_that_import_it(package, edited):
    root, measure = package
    before = {stage: measure(stage) for stage in ("balance", "report")}
    path = root / edited
    path.write_text(path.read_text().replace("LIMIT", "BOUND"))
    assert measure("balance") != before["balance"]
    assert measure("report") == before["report"]


def test_a_template_counts_as_code(package):
    root, measure = package
    before = measure("report")
    (root / "report/page.html").write_text("<h1>")
    assert measure("report") != before


def test_a_part_found_by_existing_counts_as_code(package):
    root, measure = package
    (root / "report/__init__.py").write_text("PARTS = modules_of(__name__)\n")
    (root / "report/table.py").write_text("from evenclip import records\n")
    before = measure("report")
    (root / "report/table.py").write_text("from evenclip import records\nWIDTH = 3\n")
    edited = measure("report")
    (root / "report/figure.py").write_text("HEIGHT = 3\n")
    with_figure = measure("report")
    (root / "report/map").mkdir()
    (root / "report/map/__init__.py").write_text("from evenclip.report.map.tiles import SIZE\n")
    (root / "report/map/tiles.py").write_text("SIZE = 1\n")
    with_map = measure("report")
    (root / "report/map/tiles.py").write_text("SIZE = 2\n")
    assert len({before, edited, with_figure, with_map, measure("report")}) == 5


def test_the_fingerprint_of_no_module_is_an_error():
    with pytest.raises(ValueError, match=r"no module evenclip\.balanced"):
        code_fingerprint("evenclip.balanced")


def test_every_stage_has_a_fingerprint_of_its_own():
    stages = [
        "data.world.synthesize",
        "data.importing",
        "label",
        "balance",
        "train",
        "embed",
        "evaluate",
        "summarize",
        "report",
        "track",
    ]
    assert len({code_fingerprint(f"evenclip.{stage}") for stage in stages}) == len(stages)


def test_kept_parses_give_what_parsing_gives(package, monkeypatch):
    root, measure = package
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    kept = root / "__pycache__" / f"code_fingerprint.{sys.implementation.cache_tag}.json"
    before = measure("balance")
    assert "evenclip.balance.solver" in json.loads(kept.read_text())
    assert measure("balance") == before
    kept.write_text("{")  # damaged
    assert measure("balance") == before
    kept.unlink()
    kept.mkdir()  # cannot be written
    assert measure("balance") == before


def test_a_new_part_of_a_family_is_seen_in_spite_of_kept_parses(package, monkeypatch):
    root, measure = package
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (root / "balance/__init__.py").write_text("PARTS = modules_of(__name__)\n")
    before = measure("balance")
    (root / "balance/part.py").write_text("SHARE = 0.5\n")
    assert measure("balance") != before
