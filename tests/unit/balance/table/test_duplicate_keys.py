"""Duplicate keys: found wherever they are, in tables whose keys rise, rise in part, or are in any order."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.balance.table.duplicate_keys import KeyCheck, rises
from evenclip.errors import InputError


def check(batches: list[list[str]]) -> KeyCheck:
    """Check batches of keys; raises `InputError` if one occurs twice."""
    arrays = [pa.array(batch, pa.string()) for batch in batches]
    keys = KeyCheck("labels.parquet")
    for array in arrays:
        keys.add(array, keys.prepare(array))
    keys.finish(lambda: iter(arrays))
    return keys


def cut(keys: list[str], ends: list[int]) -> list[list[str]]:
    edges = [0, *sorted(end % (len(keys) + 1) for end in ends), len(keys)]
    return [keys[start:end] for start, end in pairwise(edges)]


texts = st.lists(st.text(max_size=3), max_size=30)


@given(texts, st.lists(st.integers(0, 30), max_size=4), st.booleans())
def test_a_key_that_occurs_twice_is_found(keys, ends, in_order):
    keys = sorted(keys, key=str.encode) if in_order else keys
    if len(set(keys)) == len(keys):
        check(cut(keys, ends))
    else:
        with pytest.raises(InputError, match="occurs more than once"):
            check(cut(keys, ends))


@given(texts, st.lists(st.integers(0, 30), max_size=4))
def test_rising_keys_are_not_hashed(keys, ends):
    assert check(cut(sorted(set(keys), key=str.encode), ends))._runs == []


@pytest.mark.parametrize("late", ["b", "d"])
def test_a_duplicate_of_a_rising_batch_is_found_later(late):
    with pytest.raises(InputError, match=f"'{late}' occurs more than once"):
        check([["a", "b"], ["c", "d"], ["x", late], ["z"]])


def test_a_batch_prepared_before_an_earlier_one_fell_is_hashed():
    batches = [pa.array(batch) for batch in (["b"], ["a"], ["c", "d"], ["d"])]
    keys = KeyCheck("labels.parquet")
    prepared = [keys.prepare(batch) for batch in batches]  # as threads do, all ahead of `add`
    assert prepared == [None] * 4
    for batch, hashes in zip(batches, prepared, strict=True):
        keys.add(batch, hashes)
    with pytest.raises(InputError, match="'d' occurs more than once"):
        keys.finish(lambda: iter(batches))


def test_order_is_that_of_bytes():
    assert rises(pa.array(["z", "é", "\uffff", "\U00010000"])) and not rises(pa.array(["é", "z"]))
    assert not rises(pa.array(["a", None])) and not rises(pa.array(["a", "a"]))
    assert rises(pa.array([], pa.string())) and rises(pa.array(["a"]))


def test_null_keys_are_refused():
    with pytest.raises(InputError, match="1 keys are null"):
        check([["a", None]])


def test_many_keys_in_random_order_are_distinct():
    keys = np.random.default_rng(0).permutation(200_000).astype(str).tolist()
    check(cut(keys, [70_000, 140_000]))
