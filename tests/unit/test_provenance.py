"""Outputs appear whole or not at all, with the record of how they were made."""

import json

import pytest

from evenclip.digests import fingerprint
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_file, atomic_folder, write_json


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


def test_a_missing_input_is_named(tmp_path):
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
