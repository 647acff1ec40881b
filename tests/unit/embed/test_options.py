"""Sets to embed, as they are written on the command line."""

from pathlib import Path

import pytest

from evenclip.embed.options import EmbedSet


@pytest.mark.parametrize(("argument", "data", "prompts"), [
    ("x=data", "data", ()),
    ("x=data:p.yaml,q.yaml", "data", ("p.yaml", "q.yaml")),
    ("x=a:b", "a:b", ()),
    ("x=a:b:p.yaml", "a:b", ("p.yaml",)),
])  # fmt: skip
def test_a_folder_may_have_a_colon_in_its_name(tmp_path, monkeypatch, argument, data, prompts):
    (tmp_path / "a:b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert EmbedSet.from_argument(argument) == EmbedSet("x", Path(data), tuple(map(Path, prompts)))
