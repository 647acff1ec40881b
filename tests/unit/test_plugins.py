"""A part of a family is found by existing."""

import sys

from evenclip.plugins import modules_of


def test_modules_are_found_by_existing(tmp_path, monkeypatch):
    family = tmp_path / "family"
    (family / "inner").mkdir(parents=True)
    for name in ("__init__", "base", "_private", "second", "first", "inner/__init__"):
        (family / f"{name}.py").write_text(f"NAME = {name!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert {name: module.NAME for name, module in modules_of("family").items()} == {
            "first": "first",
            "inner": "inner/__init__",
            "second": "second",
        }
        assert list(modules_of("family")) == ["first", "inner", "second"]
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "family"]:
            del sys.modules[name]
