"""The documents are in step with the code, and what they point to exists."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

from support.project import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "benchmarks|config|docs|profiles|src|tests|workflow"
CODE = re.compile(r"^( *)```.*?^\1```|`[^`]*`", re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Links to files that do not exist, or to headings that are not on the page."""
    broken = []
    for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", CODE.sub("", text)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


def missing_paths(text: str) -> list[str]:
    """Paths of the project between backticks that do not exist; names in capitals are placeholders."""
    paths = re.findall(rf"`((?:{FOLDERS})/[a-z0-9_./-]*)`", text)
    return [path for path in paths if not (ROOT / path).exists()]


def unknown_names(text: str) -> list[str]:
    """Dotted names between backticks that are not in the package; those of two parts may be tags in MLflow."""
    unknown = []
    for name in sorted(set(re.findall(r"`(evenclip(?:\.\w+){2,})`", text))):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            unknown.append(name)
    return unknown


def test_generated_documents_are_in_step():
    spec = importlib.util.spec_from_file_location("generate_documents", ROOT / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of step: run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_paths_and_names_of_a_page_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    assert broken_links(page, text) + missing_paths(text) + unknown_names(text) == []


def test_a_dead_link_path_or_name_is_noticed():
    readme = ROOT / "README.md"
    assert broken_links(readme, "[a](gone.md) [b](README.md#gone) [c](#map) [d](docs) [e](https://x.org)") == [
        "gone.md",
        "README.md#gone",
    ]
    assert missing_paths("`src/evenclip/gone.py`, `docs/NAME.md`, `src/evenclip/cli/`") == ["src/evenclip/gone.py"]
    assert unknown_names("`evenclip.errors.InputError`, `evenclip.errors.Gone`") == ["evenclip.errors.Gone"]


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
