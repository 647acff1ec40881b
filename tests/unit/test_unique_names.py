"""Names stay one to one."""

from hypothesis import given
from hypothesis import strategies as st

from evenclip.unique_names import one_to_one

KEYS = st.sets(st.tuples(st.text(max_size=300), st.sampled_from(["", ".ci_low"])), max_size=20)


@given(KEYS)
def test_no_two_keys_have_one_name(keys: set[tuple[str, str]]):
    names = one_to_one(keys, lambda key: "".join(letter if letter.isalnum() else "_" for letter in key[0]))
    assert set(names) == keys and len({name.casefold() for name in names.values()}) == len(keys)
    assert all(len(name) <= 250 for name in names.values())


def test_names_without_a_twin_stay_as_they_are():
    names = one_to_one([("a",), ("<40",), (">40",)], lambda key: key[0].strip("<>"))
    assert names["a",] == "a" and names["<40",] != names[">40",]
    assert all(names[key].startswith("40-") for key in (("<40",), (">40",)))
