"""A JSON file read item by item holds what it holds read at once, wherever the blocks end."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.data import json_stream
from evenclip.data.json_stream import iterate_items
from evenclip.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def expected(value: list | dict) -> list:
    if isinstance(value, list):
        return [("", item) for item in value]
    return [(key, part) for key, item in value.items() for part in (item if isinstance(item, list) else [item])]


@settings(deadline=None)
@given(
    st.lists(VALUES, max_size=5) | st.dictionaries(st.text(), VALUES, max_size=5),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_items_are_those_of_the_whole_whatever_the_block(value, block, indent):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        assert list(iterate_items(io.StringIO(json.dumps(value, indent=indent)), "x")) == expected(value)


@settings(deadline=None)
@given(st.lists(st.integers() | st.text(max_size=4), min_size=1, max_size=5), st.data())
def test_a_file_that_is_cut_off_is_an_error(value, data):
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(InputError, match="x, near character"):
        list(iterate_items(io.StringIO(cut), "x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends too early"),
        ("7", "'7' where one of"),
        ("[1 2]", "'2' where one of"),
        ("[1,]", "Expecting value"),
        ("{1: 2}", "a key is no string"),
        ('{"a" 2}', "'2' where one of :"),
        ("[1] [2]", "more text after"),
        ("[" * 100_000, "nested too deeply"),
        ('["' + "a" * 100, "Unterminated string"),
    ],
)
def test_broken_json_is_an_error_that_says_where(text, message):
    with pytest.raises(InputError, match=message):
        list(iterate_items(io.StringIO(text), "x"))


def test_the_end_of_a_broken_item_is_sought_within_a_limit(monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ITEM", 1000)
    monkeypatch.setattr(json_stream, "BLOCK", 100)
    file = io.StringIO('["' + "a" * 100_000)
    with pytest.raises(InputError):
        list(iterate_items(file, "x"))
    assert file.tell() < 5000


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.json"
    item = json.dumps({"id": 1, "caption": "x" * 100})
    with open(path, "w") as file:
        file.write('{"annotations": [' + ",\n".join([item] * 100_000) + "]}")
    assert path.stat().st_size > 12_000_000
    tracemalloc.start()
    with open(path) as file:
        assert sum(1 for _ in iterate_items(file, "x")) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
