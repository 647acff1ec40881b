"""Labels say what captions say: whole words, in any case and number, the longest phrase first."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import Part
from evenclip.errors import InputError
from evenclip.label import LabelOptions, Lexicon, label_dataset, read_lexicon
from evenclip.label.from_captions import label_captions, pooled
from evenclip.label.gather import gather_labels
from evenclip.label.lexicon import with_plurals
from evenclip.label.matching import Matcher, phrase_pattern
from evenclip.label.phrases import Parts, PhraseFinder
from evenclip.provenance import Manifest

LEXICON = {
    "sensitive": {
        "gender": {
            "woman": {"words": ["woman", "girl", "lady"], "not": ["no woman"]},
            "man": {"words": ["man", "boy", "policeman"], "not": ["man-made", "no man"]},
        },
        "age": {"child": ["little girl", "child", "children"]},
    },
    "target": {
        "chef": {"words": ["chef"], "not": ["chef's hat"]},
        "fire truck": ["fire truck"],
        "truck": ["truck"],
        "dress": {"words": ["dress"], "not": ["dress shirt"]},
        "shirt": ["shirt"],
    },
    "proxy": {"kitchen": ["kitchen", "frying pan"]},
}


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher(Lexicon.parse(LEXICON, "lexicon"))


def named(matcher: Matcher, caption: str) -> set[str]:
    row = matcher.match([caption]).labels[0]
    return {column.split(".", 1)[1] for column, there in zip(matcher.columns, row, strict=True) if there}


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("A woman .", {"gender.woman"}),
        ("WOMEN and Men", {"gender.woman", "gender.man"}),
        ("two ladies, one boy", {"gender.woman", "gender.man"}),
        ("the man's bag; the girls' bags", {"gender.man", "gender.woman"}),
        ("the man’s bag", {"gender.man"}),
        ("three policemen", {"gender.man"}),
        ("the Manning Bowl, a mandolin, a human, Germany", set()),
        ("a man-made lake", set()),
        ("a man - made lake", set()),
        ("a man made of snow made by a man", {"gender.man"}),
        ("no women here", set()),
        ("no women but a lady", {"gender.woman"}),
        ("a pink-dressed girl", {"gender.woman"}),
        ("a little girl", {"gender.woman", "age.child"}),
        ("a  little\tgirl", {"gender.woman", "age.child"}),
        ("a little-girl", {"gender.woman", "age.child"}),
        ("a little. girl", {"gender.woman"}),
        ("a chef", {"chef"}),
        ("a chef's knife", {"chef"}),
        ("a Chef's hat on a shelf", set()),
        ("a Chef’s hat on a chef", {"chef"}),
        ("a fire truck", {"fire truck"}),
        ("fire trucks and a truck", {"fire truck", "truck"}),
        ("a dress shirt", {"shirt"}),
        ("dresses", {"dress"}),
        ("frying pans", {"kitchen"}),
        ("woman", {"gender.woman"}),
        ("", set()),
    ],
)
def test_labels_of_a_caption(matcher, caption, labels):
    assert named(matcher, caption) == labels


@pytest.mark.parametrize(
    ("word", "plural"),
    [("nurse", "nurses"), ("lady", "ladies"), ("boy", "boys"), ("waitress", "waitresses"), ("box", "boxes"),
     ("coach", "coaches"), ("fireman", "firemen"), ("police officer", "police officers"), ("woman", "women")],
)  # fmt: skip
def test_regular_plurals(word, plural):
    assert {word, plural} <= with_plurals(word)


def test_captions_do_not_run_into_each_other(matcher):
    labels = matcher.match(["a fire", "truck", "", "little", "girl"]).labels
    assert [labels[i].any() for i in range(5)] == [False, True, False, False, True]
    assert not labels[:, matcher.columns.index("target.fire truck")].any()


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["man", "woman", "\n", "no", "or", "a", ",", "'s", "chef's", "hat", "truck", "fire", "x", " ", "-", "İ"]
        ),
        max_size=30,
    )
)
def test_labels_of_many_captions_are_those_of_each(words):
    matcher = Matcher(Lexicon.parse(LEXICON, "lexicon"))
    captions = " ".join(words).split("x")
    together = matcher.match(captions).labels
    apart = np.vstack([matcher.match([caption]).labels for caption in captions])
    assert np.array_equal(together, apart)


@settings(deadline=None)
@given(
    st.sets(st.from_regex(r"[ab](?:[ab '.]{0,6}[ab])?", fullmatch=True).map(lambda t: " ".join(t.split())), min_size=1),
    st.text("ab' .\n"),
    st.booleans(),
)
def test_phrases_are_found_as_plain_alternatives_are(phrases, text, whole_words):
    text, phrases = " ".join(text.split()), sorted(phrases)
    longest_first = "|".join(sorted(map(re.escape, phrases), key=lambda phrase: (-len(phrase), phrase)))
    edge = r"\b" if whole_words else ""
    matches = list(re.finditer(rf"{edge}(?:{longest_first}){edge}", text))
    spans = [match.span() for match in matches]
    assert [match.span() for match in phrase_pattern(phrases, whole_words).finditer(text)] == spans
    parts = Parts.of(text, whole_words)
    found = PhraseFinder(phrases, whole_words).find(parts).tolist()
    expected = [(*match.span(), phrases.index(match[0])) for match in matches]
    assert [(parts.starts[first], parts.ends[last], number) for first, last, number in found] == expected


def test_phrases_are_found_alike_whatever_their_batches(monkeypatch):
    phrases = ["a", "a b", "a b c", "b's", "b. c", "c d", "d"]
    parts = Parts.of("a b d\nc\nd a b c d\n\nb's b. c\na  b b.c", whole_words=True)
    at_once = PhraseFinder(phrases).find(parts).tolist()
    assert [(parts.line[first], phrases[number]) for first, _, number in at_once] == [
        (0, "a b"), (0, "d"), (2, "d"), (2, "a b c"), (2, "d"), (4, "b's"), (4, "b. c"), (5, "a b"),
    ]  # fmt: skip
    monkeypatch.setattr("evenclip.label.phrases._BATCH", 2)
    assert PhraseFinder(phrases).find(parts).tolist() == at_once


def test_an_exception_may_be_in_another():
    a = {"words": ["woman", "hat"], "not": ["woman hat"]}
    b = {"words": ["woman"], "not": ["old woman hat"]}
    matcher = Matcher(Lexicon.parse({"target": {"a": a, "b": b}}, "lexicon"))
    assert named(matcher, "an old woman") == {"a", "b"}
    assert named(matcher, "a woman hat") == {"b"}
    assert named(matcher, "an old woman hat") == set()


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=5), min_size=1, max_size=8),
    st.sampled_from(["any", "majority"]),
)
def test_pairs_pool_their_captions(groups, pool):
    flat = np.array([row for group in groups for row in group], dtype=bool).reshape(-1, 2)
    rule = any if pool == "any" else lambda votes: 2 * sum(votes) > len(votes)
    expected = [[rule([row[c] for row in group]) for c in range(2)] for group in groups]
    assert np.array_equal(pooled(flat, [len(group) for group in groups], pool), expected)


def test_summaries_count_words_and_keep_examples(matcher):
    captions = [["a man", "men"], ["a woman and a man"], ["nothing"], []]
    labels, summaries = label_captions(captions, matcher, "any")
    man = summaries["sensitive.gender.man"]
    assert labels[:, matcher.columns.index("sensitive.gender.man")].tolist() == [True, True, False, False]
    assert (man["n"], man["share"], man["words"]) == (2, 0.5, {"man": 2, "men": 1})
    assert man["examples"] == ["a man", "men", "a woman and a man"]
    assert summaries["proxy.kitchen"] == {"n": 0, "share": 0.0, "words": {}, "examples": []}


def write_data(folder, captions: list[list[str]]) -> None:
    with write_shards(folder, Manifest("data", {}, {}), shard_size=2) as writer:
        for number, texts in enumerate(captions):
            writer.add(f"k{number}", b"jpeg", texts, {}, width=1, height=1, sha256=str(number))


def test_labels_and_manifest_follow_the_order_of_pairs(tmp_path, capsys):
    write_data(tmp_path / "data", [["a man"], ["a woman", "a man-made lake"], ["a chef"]])
    (tmp_path / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON, sort_keys=False))
    label_dataset(tmp_path / "data", tmp_path / "lexicon.yaml", tmp_path / "out" / "set.parquet", LabelOptions())
    table = pq.read_table(tmp_path / "out" / "set.parquet")
    assert table.column_names[:4] == ["key", "sensitive.gender.woman", "sensitive.gender.man", "sensitive.age.child"]
    assert table.column("key").to_pylist() == ["k0", "k1", "k2"]
    assert table.column("sensitive.gender.man").to_pylist() == [True, False, False]
    assert table.column("target.chef").to_pylist() == [False, False, True]
    manifest = json.loads((tmp_path / "out" / "set.json").read_text())
    assert (manifest["stage"], manifest["n"]) == ("label", 3)
    assert manifest["columns"]["sensitive.gender.woman"]["n"] == 1
    assert "no caption names proxy.kitchen" in capsys.readouterr().err


def test_the_same_labels_come_out_byte_for_byte(tmp_path):
    write_data(tmp_path / "data", [["a man"], ["a woman"]])
    (tmp_path / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON, sort_keys=False))
    for name in ("a", "b"):
        label_dataset(tmp_path / "data", tmp_path / "lexicon.yaml", tmp_path / f"{name}.parquet", LabelOptions())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: {chef: []}", "at least 1 item"),
        ("target: {chef: ['!']}", "does not begin and end"),
        ("targets: {chef: [chef]}", "did you mean 'target'"),
        ("target: {chef: {word: [chef]}}", "words"),
        ("target: {a.b: [chef]}", "pattern"),
        ("- chef", "not a mapping"),
        ("{}", "no label"),
        ("target: [", "not valid YAML"),
    ],
)
def test_a_malformed_lexicon_is_refused(tmp_path, text, message):
    path = tmp_path / "lexicon.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_lexicon(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["people", "flickr8k", "world"])
def test_every_column_of_a_shipped_lexicon_can_be_named(name, request):
    lexicon = read_lexicon(request.config.rootpath / "config" / "lexicons" / f"{name}.yaml")
    matcher = Matcher(lexicon)
    for block in lexicon.blocks():
        for column, words in block.items():
            labels = matcher.match([f"a {words.words[0]} ."]).labels[0]
            assert labels[matcher.columns.index(column)], column


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("no women", set()),
        ("No man or woman, no boys", set()),
        ("no girl, lady or boy but a man", {"gender.man"}),
        ("without a young woman", set()),
        ("there aren't any trucks", set()),
        ("there are n't any trucks", set()),
        ("not a chef but a policeman", {"gender.man"}),
        ("no hat, a man", {"gender.man"}),
        ("no hat and a woman", {"gender.woman"}),
        ("no hat on a man or woman", {"gender.man", "gender.woman"}),
        ("nothing but a man", {"gender.man"}),
        ("the men's room", set()),
        ("the men 's rooms", set()),
        ("the room men", {"gender.man"}),
        ("a man room", {"gender.man"}),
        ("a policeman dog", set()),
        ("a man's dog", {"gender.man"}),
        ("mens hands", {"gender.man"}),
    ],
)
def test_negation_owners_and_followers_refute_a_label(caption, labels):
    values = json.loads(json.dumps(LEXICON))
    values["sensitive"]["gender"]["man"] |= {"not_before": [["dog"], "cat"], "not_owner_of": ["room"]}
    assert named(Matcher(Lexicon.parse(values, "lexicon")), caption) == labels


def test_another_language_brings_its_own_negation():
    lexicon = {
        "sensitive": {"gender": {"woman": ["Frau", "Frauen"], "man": ["Mann", "Männer"]}},
        "negation": {"words": ["kein", "keine", "ohne"], "between": ["junge"], "alternatives": ["oder"]},
        "english_plurals": False,
    }
    matcher = Matcher(Lexicon.parse(lexicon, "lexicon"))
    assert named(matcher, "zwei Männer ohne Frauen") == {"gender.man"}
    assert named(matcher, "keine junge Frau oder Männer") == set()
    assert named(matcher, "no Frau, the fraus") == {"gender.woman"}
    assert named(matcher, "fraus") == set()
    silent = Matcher(Lexicon.parse(lexicon | {"negation": {"words": []}}, "lexicon"))
    assert named(silent, "keine Frau") == {"gender.woman"}


def test_parts_gathered_are_the_labels_of_the_whole(tmp_path):
    captions = [["A woman chef", "a lady"], ["a man in a kitchen"], ["no woman"], ["boys"], ["a fire truck", "girls"]]
    data, lexicon = tmp_path / "data", tmp_path / "lexicon.yaml"
    lexicon.write_text(yaml.safe_dump(LEXICON))
    with write_shards(data, Manifest("data", {}, {}), shard_size=20) as writer:
        for i in range(100):
            writer.add(f"{i:03d}", b"", captions[i % 5], {}, width=1, height=1, sha256="")
    options = LabelOptions(flip_share=0.3)
    label_dataset(data, lexicon, tmp_path / "whole.parquet", options)
    parts = [tmp_path / f"part{number}.parquet" for number in (1, 2, 3)]
    for number, path in enumerate(parts, start=1):
        label_dataset(data, lexicon, path, options, part=Part(number, 3))
    assert [pq.read_metadata(path).num_rows for path in parts] == [20, 40, 40]
    assert gather_labels(parts, tmp_path / "gathered.parquet") == 100
    assert pq.read_table(tmp_path / "gathered.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    whole, gathered = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "gathered"))
    assert {key: gathered[key] for key in ("n", "columns", "options")} == {
        key: whole[key] for key in ("n", "columns", "options")
    }
    for wrong in (parts[:2], parts[::-1], [*parts, parts[0]]):
        with pytest.raises(InputError, match="these are the parts"):
            gather_labels(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match="5 shards cannot be cut into 6 parts"):
        label_dataset(data, lexicon, tmp_path / "wrong.parquet", options, part=Part(1, 6))
    label_dataset(data, lexicon, parts[1], LabelOptions(), part=Part(2, 3))
    with pytest.raises(InputError, match="options differ"):
        gather_labels(parts, tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match="it is not a part"):
        gather_labels([tmp_path / "whole.parquet"], tmp_path / "wrong.parquet")
    assert not (tmp_path / "wrong.parquet").exists()


@pytest.mark.parametrize("text", ["2", "0/3", "4/3", "a/b", "-1/2", ""])
def test_a_malformed_part_is_refused(text):
    with pytest.raises(InputError, match="is not a part"):
        Part.from_argument(text)
