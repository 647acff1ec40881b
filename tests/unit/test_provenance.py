"""Fingerprints follow what code does, and outputs appear whole or not at all."""

import json

import pytest

from evenclip import provenance
from evenclip.digests import fingerprint
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_file, atomic_folder, code_fingerprint, write_json


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
    monkeypatch.setattr(provenance, "SOURCE", tmp_path)

    def measure(stage):
        provenance._imports_and_code.cache_clear()
        return code_fingerprint(f"evenclip.{stage}")

    yield root, measure
    provenance._imports_and_code.cache_clear()


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


def test_fingerprint_ignores_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "out.json"
    write_json({"a": 1}, path)
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_failed_folder_leaves_the_old_folder_and_no_litter(tmp_path):
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "b").write_text("2")
        raise RuntimeError
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["out", "out/.evenclip", "out/a"]
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "b").write_text("2")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["out", "out/.evenclip", "out/b"]


def test_manifest_identity_is_content_not_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
    first = Manifest("label", {"pool": "any"}, {"data": tmp_path / "one"}, seed=0)
    assert first.fingerprint == Manifest("label", {"pool": "any"}, {"data": tmp_path / "two"}, seed=0).fingerprint
    assert first.fingerprint != Manifest("label", {"pool": "any"}, {"data": tmp_path / "one"}, seed=1).fingerprint
    (tmp_path / "one").write_text("other")
    assert first.fingerprint != Manifest("label", {"pool": "any"}, {"data": tmp_path / "one"}, seed=0).fingerprint
    first.write(tmp_path / "manifest.json", n=3)
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["n"] == 3 and written["seed"] == 0 and written["packages"]["numpy"]


def test_a_missing_input_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Manifest("label", {}, {"data": tmp_path / "nowhere"})


def test_a_folder_that_was_not_made_here_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    with atomic_folder(tmp_path / "photos") as temporary:  # empty: nothing to lose
        (temporary / "a").write_text("1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.jpg").write_text("precious")
    with pytest.raises(InputError, match="not made by evenclip"), atomic_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "a.jpg").read_text() == "precious"
