"""A layout is added by adding its file: options, help, schema, docs and the import find it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from evenclip.data.layouts import load_layouts
from evenclip.data.options import ImportOptions
from evenclip.errors import InputError

SOURCE = Path(__file__).resolve().parents[4] / "src"
TOY = '''"""A toy: every image, captioned by its name."""
from evenclip.data.layouts.base import Candidate, Description, key_of

DESCRIPTION = Description(files="images", splits="all", columns="")


def find_pairs(source, split, options):
    return [Candidate(file, key_of(file.name), [file.base]) for file in source.files()]
'''


def run(root: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "evenclip", *arguments], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_layout_is_one_new_file(tmp_path):
    shutil.copytree(SOURCE / "evenclip", tmp_path / "evenclip", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "evenclip/data/layouts/toy.py").write_text(TOY)
    (tmp_path / "raw").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "raw/a.jpg")
    run(tmp_path, "data", "import", "--source", "raw", "--out", "out", "--option", "layout=toy")
    assert run(tmp_path, "data", "verify", "out").startswith("out: 1 pairs")
    assert "toy" in run(tmp_path, "data", "import", "--help")
    probe = "import json; from evenclip.data.options import ImportOptions as O; print(O.model_json_schema())"
    done = subprocess.run(
        [sys.executable, "-c", probe], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True
    )
    assert b"'toy'" in done.stdout


def test_an_unknown_layout_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match="imagenet_val"):
        ImportOptions.parse({"layout": "imagenet"}, "x")


def test_every_layout_describes_itself():
    for name, layout in load_layouts().items():
        assert callable(layout.find_pairs) and layout.DESCRIPTION.files and layout.DESCRIPTION.splits, name
