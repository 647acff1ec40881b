"""What the documents take from the code is in step with it."""

import importlib.util

from support.project import ROOT


def test_generated_documents_are_in_step():
    spec = importlib.util.spec_from_file_location("generate_documents", ROOT / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of step: run make docs"
