"""Captions in any script: accents in either form, marks and soft hyphens inside words, scripts without spaces."""

import json
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evenclip.data.shard_writer import write_shards
from evenclip.errors import InputError
from evenclip.label import LabelOptions, Lexicon, label_dataset
from evenclip.label.lexicon import normalise, normalised_lines, readable
from evenclip.label.matching import Matcher
from evenclip.label.proxies import ProxyOptions, suggest_proxies
from evenclip.provenance import Manifest

EUROPEAN = {
    "sensitive": {"gender": {"woman": ["woman", "women", "infirmière"], "man": ["man", "men"]}},
    "target": {"nurse": ["nurse", "infirmière"], "café": ["café"], "caf": ["cafe"]},
}
HINDI = {
    "english_plurals": False,
    "sensitive": {"gender": {"woman": ["महिला"], "man": ["पुरुष"]}},
    "target": {"nurse": ["नर्स"]},
    "negation": {"words": ["बिना"]},
}
CHINESE = {
    "match": "substring",
    "english_plurals": False,
    "sensitive": {"gender": {"woman": {"words": ["女人"], "not_before": ["鱼"]}, "man": ["男人"]}},
    "target": {"nurse": {"words": ["护士", "护 士"], "not": ["护士服"]}},
    "negation": {"words": ["没有"], "between": ["一个"]},
}


def named(lexicon: dict, caption: str) -> set[str]:
    matcher = Matcher(Lexicon.parse(lexicon, "lexicon"))
    row = matcher.match([caption]).labels[0]
    return {column.rpartition(".")[2] for column, is_named in zip(matcher.columns, row, strict=True) if is_named}


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("une infirmière au travail", {"woman", "nurse"}),
        ("a Mañana sign", set()),
        ("a café table", {"café"}),
        ("a cafe table", {"caf"}),
        ("a mãn", set()),
        ("manx\u0303", set()),
        ("x\u0303man", set()),
        ("a wo\u00adman", {"woman"}),
        ("a wo\u00admen\u00ad's hat", {"woman"}),
        ("a\u00a0woman", {"woman"}),
        ("a woman\u200d zero-width joiner", {"woman"}),
        ("woman👩\u200d⚕️nurse", {"woman", "nurse"}),
        ("ＷＯＭＡＮ", set()),
        ("𝐰𝐨𝐦𝐚𝐧", set()),
    ],
)
def test_composed_and_decomposed_captions_are_equal(caption, labels, form):
    assert named(EUROPEAN, unicodedata.normalize(form, caption)) == labels


def test_a_lexicon_may_be_decomposed():
    assert named({"target": {"cafe": [decomposed("café")]}}, "a café") == {"cafe"}


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("एक महिला नर्स और पुरुष", {"woman", "man", "nurse"}),
        ("महिलाएँ", set()),
        ("बिना महिला", set()),
    ],
)
def test_hindi_words_end_where_hindi_words_end(caption, labels):
    assert named(HINDI, caption) == labels


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("一个女人在厨房和护士", {"woman", "nurse"}),
        ("没有一个女人和男人", {"man"}),
        ("女人鱼", set()),
        ("白色护士服", set()),
        ("男人", {"man"}),
        ("山", set()),
    ],
)
def test_substring_mode_needs_no_spaces(caption, labels):
    assert named(CHINESE, caption) == labels


@pytest.mark.parametrize("text", ["infirmière", decomposed("infirmière"), "महिला", "a\u0303x\u0303"])
def test_normal_text_can_be_read_again(text):
    assert readable(normalise(text)) == unicodedata.normalize("NFC", text)
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.text(st.sampled_from("a s'’-\n\r\tΣσİ\u0301é\u00ad\u2028म") | st.characters()), min_size=1))
def test_lines_are_normalised_as_each_text_is(texts):
    assert normalised_lines(texts).split("\n") == [normalise(text) for text in texts]


def label(folder: Path, lexicon: dict, *captions: str, **options) -> dict:
    with write_shards(folder / "data", Manifest("data", {}, {})) as writer:
        for number, caption in enumerate(captions):
            writer.add(f"k{number}", b"", [caption], {}, width=1, height=1, sha256=str(number))
    (folder / "lexicon.yaml").write_text(yaml.safe_dump(lexicon, allow_unicode=True), encoding="utf-8")
    label_dataset(folder / "data", folder / "lexicon.yaml", folder / "l.parquet", LabelOptions(**options))
    return json.loads((folder / "l.json").read_text(encoding="utf-8"))


def test_manifests_and_proxies_show_readable_words(tmp_path, capsys):
    captions = ["महिला नर्स रसोई में", "पुरुष"] * 60
    assert label(tmp_path, HINDI, *captions)["columns"]["sensitive.gender.woman"]["words"] == {"महिला": 60}
    paths = tmp_path / "l.parquet", tmp_path / "data", tmp_path / "lexicon.yaml", tmp_path / "proxies.yaml"
    assert {suggestion.word for suggestion in suggest_proxies(*paths, ProxyOptions())} == {"रसोई", "में"}
    assert capsys.readouterr().err == ""


def test_a_lexicon_that_matches_nothing_is_a_warning(tmp_path, capsys):
    label(tmp_path, HINDI, "a woman")
    assert "no caption matches the lexicon at all" in capsys.readouterr().err


def test_words_of_a_script_without_spaces_are_a_warning(tmp_path, capsys):
    label(tmp_path, CHINESE | {"match": "words"}, "女人")
    assert "write `match: substring`" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["wording", "caption_length"])
def test_words_cannot_be_counted_without_spaces(tmp_path, part):
    with pytest.raises(InputError, match=f"'{part}' counts words"):
        label(tmp_path, CHINESE, "女人", utility=[part])
