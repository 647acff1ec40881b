"""Option blocks: strict, near keys named, and the command line round-trips."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from evenclip.errors import InputError
from evenclip.options import Options, expand_variables, parse_value, read_yaml

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


class Inner(Options):
    width: int = 1
    names: dict[str, str] = {}


class Outer(Options):
    lr: float = 0.1
    amp: bool = False
    text: str = ""
    shares: list[float] = []
    inner: Inner = Inner()


@given(
    st.builds(
        Outer,
        lr=st.floats(allow_nan=False, allow_infinity=False),
        amp=st.booleans(),
        text=TEXTS,
        shares=st.lists(st.floats(0, 1)),
        inner=st.builds(Inner, width=st.integers(-(2**62), 2**62), names=st.dictionaries(TEXTS, TEXTS)),
    )
)
def test_arguments_round_trip(block):
    assert Outer.from_arguments(block.to_arguments()) == block


def test_defaults_need_no_arguments():
    assert Outer().to_arguments() == []


@pytest.mark.parametrize(
    ("values", "key", "near"),
    [({"lrr": 1}, "lrr", "lr"), ({"inner": {"widht": 2}}, "inner.widht", "width"), ({"xyz": 1}, "xyz", "known keys")],
)
def test_unknown_key_names_the_nearest(values, key, near):
    with pytest.raises(InputError) as error:
        Outer.parse(values, "study.yaml")
    assert f"unknown key '{key}'" in str(error.value)
    assert near in str(error.value)
    assert str(error.value).startswith("study.yaml: ")


def test_wrong_type_names_the_key():
    with pytest.raises(InputError, match="'inner.width'"):
        Outer.parse({"inner": {"width": "wide"}}, "study.yaml")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("-2E5", -2e5), ("true", True), ("{a: 1}", {"a": 1}), ("[", "[")]
)
def test_values_of_the_command_line_are_parsed_as_yaml(text, value):
    assert parse_value(text) == value


def test_argument_without_equals_sign():
    with pytest.raises(InputError, match="key=value"):
        Outer.from_arguments(["lr"])


def test_environment_variables_are_expanded(monkeypatch):
    monkeypatch.setenv("EVENCLIP_TEST_ROOT", "/somewhere")
    monkeypatch.delenv("EVENCLIP_TEST_UNSET", raising=False)
    assert expand_variables("${EVENCLIP_TEST_ROOT}/x", "key") == "/somewhere/x"
    assert expand_variables("${EVENCLIP_TEST_UNSET:-data/raw}/x", "key") == "data/raw/x"
    with pytest.raises(InputError, match="EVENCLIP_TEST_UNSET is not set"):
        expand_variables("${EVENCLIP_TEST_UNSET}/x", "key")


def test_broken_yaml_names_line_and_column(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: 1\nb: [1\nc: 2\n")
    with pytest.raises(InputError, match=r"study\.yaml:3"):
        read_yaml(path)


class Circle(Options):
    kind: Literal["circle"] = "circle"
    radius: int = 1


class Square(Options):
    kind: Literal["square"] = "square"
    side: int = 1


class Drawing(Options):
    shapes: list[Annotated[Circle | Square, Field(discriminator="kind")]] = []
    named: dict[str, Inner] = {}
    maybe: Inner | None = None


@pytest.mark.parametrize(
    ("values", "near"),
    [
        ({"shapes": [{"kind": "square", "sid": 2}]}, "did you mean 'side'"),
        ({"named": {"a": {"wdth": 2}}}, "did you mean 'width'"),
        ({"maybe": {"wdth": 2}}, "did you mean 'width'"),
    ],
)
def test_unknown_key_inside_unions_and_mappings(values, near):
    with pytest.raises(InputError, match=near):
        Drawing.parse(values, "study.yaml")
