"""A library that is not installed is named with the extra that brings it."""

import importlib.metadata
import tomllib

import pytest

from evenclip import extras
from support.project import ROOT


@pytest.fixture
def metadata(monkeypatch):
    """What an installed evenclip asks for, as its metadata would say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requires = list(project["dependencies"])
    for extra, texts in project["optional-dependencies"].items():
        requires += [f"{text.partition(';')[0]}; extra == '{extra}'" for text in texts]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "train"),
        ("open_clip", "train"),
        ("torch_geometric.nn", "train"),
        ("sklearn.metrics", "train"),
        ("PIL", "train"),
        ("faiss", "train"),
        ("mlflow", "workflow"),
        ("matplotlib.figure", "figures"),
    ],
)
def test_a_missing_library_names_its_extra(metadata, module, extra):
    message = extras.missing_extra(ModuleNotFoundError(name=module))
    assert f"the extra '{extra}'" in message.what and f"pip install 'evenclip[{extra}]'" in message.instead


@pytest.mark.parametrize("module", ["numpy", "evenclip.nosuch", "nosuch", None])
def test_a_library_of_no_extra_names_no_extra(metadata, module):
    assert extras.missing_extra(ModuleNotFoundError(name=module)) is None


def test_import_names_lead_to_installed_distributions():
    installed = importlib.metadata.packages_distributions()
    for module, distribution in extras.DISTRIBUTIONS.items():
        assert distribution in {extras.normalise(name) for name in installed.get(module, [distribution])}
