"""The rules of the workflow: no path in a shell line can be taken for shell code, and folders keep their few files."""

import re

import pytest

from support.project import ROOT

RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


def test_the_rule_files_are_the_stages():
    names = [path.stem for path in RULES]
    assert names == ["balance", "common", "data", "evaluate", "graph", "label", "publish", "train"]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_field_of_a_shell_line_is_quoted(path):
    text = path.read_text(encoding="utf-8")
    shells = re.findall(r"shell:\n((?:\s+.*\n)+?)(?=\n|\s*else:|\Z)", text)
    n_rules = len(re.findall(r"^ *rule \w+:", text, re.MULTILINE))
    assert len(shells) == n_rules
    for shell in shells:
        fields = re.findall(r"\{([^{}]*)\}", shell)
        assert shell.strip().startswith("evenclip(") and fields
        assert [field for field in fields if not field.endswith(":q")] == []


def test_the_common_shape_of_a_command_is_quoted():
    text = (ROOT / "workflow/rules/common.smk").read_text(encoding="utf-8")
    assert 'f"python {torchrun}-m evenclip {arguments} > {{log:q}} 2>&1"' in text
