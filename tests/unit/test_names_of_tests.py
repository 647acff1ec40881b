"""Names of tests are at most 60 characters long."""

import ast

from support.project import ROOT

LONGEST = 60


def test_names_of_tests_are_at_most_60_characters():
    long_names = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) > LONGEST
    ]
    assert long_names == []
