"""Captions that are no descriptions fail a check, those that are pass all five."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.label import LabelOptions, Lexicon
from evenclip.label.quality import CHECKS, utility, wording, wording_share
from support.project import REAL_DATA

ENGLISH = Lexicon().function_words
GERMAN = ["ein", "eine", "der", "die", "das", "und", "mit", "im", "in", "auf", "ist"]


def failed(caption: str, function_words: list[str] = ENGLISH) -> set[str]:
    passed = wording([caption], function_words)[0]
    return {check for check, fine in zip(CHECKS, passed, strict=True) if not fine}


# all but the first eight are captions of the CC3M validation set or alt texts that its authors name
@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", set(CHECKS)), (" - . ! ", set(CHECKS)),
        ("beach", {"long_enough", "language"}),
        ("the dog", {"long_enough"}),
        ("IMG_20190312.jpg", {"long_enough", "letters", "language", "no_boilerplate"}),
        ("DSC04412", {"long_enough", "language", "no_boilerplate"}),
        ("1024 x 768 : 300", {"letters", "language"}),
        ("sale sale sale sale sale shoes for sale", {"no_repetition"}),
        ("see www.example.org for the whole set of photos", {"no_boilerplate"}),
        ("christmas gingerbread in the shape of an umbrella -- stock photo #", {"no_boilerplate"}),
        ("image may contain : person , on stage , playing a musical instrument and indoor", {"no_boilerplate"}),
        ("click to enlarge picture of the house", {"no_boilerplate"}),
        ("smartphone satellites piece together pictures .", {"language"}),
        ("a very typical bus station", set()),
        ("the player staring intently at a computer screen .", set()),
        ("the property is listed for £ 6.5 million .", set()),
    ],
)  # fmt: skip
def test_each_kind_of_alt_text_fails_its_check(caption, expected):
    assert failed(caption) == expected


def test_another_language_needs_its_own_function_words():
    caption = "Ein Hund läuft mit einem Stock im Maul"
    assert failed(caption, GERMAN) == set() == failed(caption, [])
    assert failed(caption) == {"language"}
    assert failed("A dog runs with a stick", GERMAN) == {"language"}


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_text_is_judged_alone(captions):
    together = wording(captions, ENGLISH)
    assert together.shape == (len(captions), len(CHECKS))
    assert all((together[i] == wording([caption], ENGLISH)[0]).all() for i, caption in enumerate(captions))


def test_a_pair_has_the_mean_of_its_captions():
    captions = [["a dog on the beach", "beach"], [], ["a dog on the beach"]]
    assert wording_share(captions, ENGLISH) == pytest.approx([(1 + 3 / 5) / 2, 0, 1])
    pairs = pa.table({"captions": captions, "width": [9] * 3, "height": [9] * 3})
    options = LabelOptions(utility=["wording"])
    assert utility(pairs, None, ENGLISH, options) == pytest.approx(np.float32([0.8, 0, 1]))


@pytest.mark.real
def test_human_captions_pass_and_web_boilerplate_does_not():
    folder = REAL_DATA / "cc3m"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there (EVENCLIP_REAL_DATA)")
    lines = next(folder.glob("*.tsv")).read_text(encoding="utf-8").splitlines()
    captions = [line.split("\t")[0] for line in lines]
    passed = wording(captions, ENGLISH)
    assert 0.97 < passed.all(axis=1).mean() < 0.985
    boilerplate = np.array(["stock photo" in caption or "image may contain" in caption for caption in captions])
    assert boilerplate.sum() > 50 and not passed[boilerplate, CHECKS.index("no_boilerplate")].any()
