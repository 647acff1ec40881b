"""Methods are a family: one options class with one field, and one module, are all that a method needs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

import evenclip
from evenclip.card import content, write_study_cards
from evenclip.errors import InputError
from evenclip.plugins import modules_of
from evenclip.train import methods
from evenclip.train.method_options import INPUTS, MethodOptions
from evenclip.train.options import TrainOptions
from support import tiny_methods
from support.example_study import seal
from support.tiny_methods import N_STEPS, make_methods_engine, write_methods_folder

TOY_MODULE = """
from evenclip.train.plugin import MethodParts, Term


class Shrink(Term):
    def __init__(self, options, lr):
        super().__init__()
        self.weight, self.lr = options.weight, lr

    def forward(self, step):
        loss = step.image.square().sum(dim=1).mean() * step.logit_scale
        return loss, {"toy_loss": loss.detach()}


def build(context, options):
    return MethodParts(terms=[Shrink(options, context.options.lr)])
"""


class ToyOptions(MethodOptions):
    """A toy."""

    title: ClassVar[str] = "toy method"
    summary: ClassVar[str] = "shrinks the logit scale"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    weight: float = 0.5
    """Weight of the toy's loss."""


class ToyTrainOptions(TrainOptions):
    """Options with one line more."""

    toy: ToyOptions | None = None
    """A toy; `{}` = with its defaults."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_methods_folder(tmp_path_factory.mktemp("family"))


def write_toy(root: Path, code: str) -> None:
    """Write the module of the toy method into a second place of the package."""
    (root / "evenclip/train/methods").mkdir(parents=True, exist_ok=True)
    (root / "evenclip/train/methods/toy.py").write_text(code)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy method: its module in the family's path, its options in place of the study's."""
    write_toy(tmp_path, TOY_MODULE)
    evenclip.__path__.append(str(tmp_path / "evenclip"))
    methods.__path__.append(str(tmp_path / "evenclip/train/methods"))
    for module in (tiny_methods, content):
        monkeypatch.setattr(module, "TrainOptions", ToyTrainOptions)
    yield
    evenclip.__path__.pop()
    methods.__path__.pop()
    sys.modules.pop("evenclip.train.methods.toy", None)


def test_every_method_has_a_module_of_its_name():
    assert sorted(modules_of("evenclip.train.methods")) == sorted(TrainOptions.method_classes())


def test_every_method_says_what_it_is_and_needs():
    for options in TrainOptions.method_classes().values():
        assert options.title and options.summary and options.needs | options.uses <= INPUTS.keys()


def test_a_new_method_is_trained_and_logged(toy: None, folder: Path):
    engine, plain = make_methods_engine(folder, toy={"weight": 2.0}), make_methods_engine(folder)
    logged = [engine.step().scalars for _ in range(N_STEPS)]
    assert all("toy_loss" in scalars for scalars in logged)
    assert not any("toy_loss" in plain.step().scalars for _ in range(N_STEPS))
    assert engine.module.logit_scale < plain.module.logit_scale


def test_a_new_method_is_in_the_schema_with_its_options():
    schema = ToyTrainOptions.model_json_schema()
    assert "toy" in schema["properties"] and "weight" in schema["$defs"]["ToyOptions"]["properties"]
    assert "title" not in schema["$defs"]["ToyOptions"]["properties"]


def test_a_new_method_is_on_the_card(toy: None, study_folder: Path, tmp_path: Path):
    path = study_folder / "train" / "m4" / "seed0" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["options"] |= {"toy": {"weight": 0.5}}
    path.write_text(json.dumps(manifest))
    seal(study_folder)
    write_study_cards(study_folder, tmp_path / "cards")
    assert json.loads((tmp_path / "cards" / "m4" / "card.json").read_text())["facts"]["methods"] == "toy method"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"fcl": {"prompts": "colors.yaml"}}, "fcl needs the labels table"),
        ({"knowledge": {}}, "knowledge needs the folder"),
    ],
)
def test_a_method_without_its_input_is_refused(folder: Path, method: dict, message: str):
    with pytest.raises(InputError, match=message):
        make_methods_engine(folder, inputs=(), **method)


def test_two_methods_cannot_replace_the_same_part(toy: None, folder: Path, tmp_path: Path):
    write_toy(
        tmp_path,
        "from evenclip.train.plugin import MethodParts\n\n\ndef build(context, options):\n"
        "    return MethodParts(make_batches=lambda copies, end: None)\n",
    )
    with pytest.raises(InputError, match="simclip and toy both replace the way batches are dealt"):
        make_methods_engine(folder, toy={}, simclip={"cluster_size": 4})
