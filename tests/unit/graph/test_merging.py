"""Entities of several sources are linked, facts are kept once, and no split leaks into another."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.data.shard_writer import write_shards
from evenclip.errors import InputError
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.graph.linking import link, normal_form, singular
from evenclip.graph.selection import MIN_TRIPLES, SPLITS, find_redundant, split_triples
from evenclip.graph.tables import Entities, Triples, inverse_of, text_of
from evenclip.provenance import Manifest


def triples_of(*rows: tuple[int, int, int]) -> Triples:
    head, relation, tail = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return Triples(head, relation, tail, np.zeros(len(rows), dtype=np.int64))


def make_data(folder: Path, captions: dict[str, list[str]]) -> Path:
    with write_shards(folder, Manifest("data", {}, {})) as writer:
        for key, texts in captions.items():
            writer.add(key, b"jpeg", texts, {}, width=10, height=10, sha256=key)
    return folder


def build(folder: Path, *sources: str, data: Path | None = None, **options):
    """Texts of the triples, the entities, and graph.json."""
    build_graph([GraphSource.from_argument(source) for source in sources], folder, data, GraphOptions(**options))
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("triples", "entities", "relations")}
    entities = {row["id"]: row for row in tables["entities"].to_pylist()}
    relations = {row["id"]: row["text"] for row in tables["relations"].to_pylist()}
    said = [
        (entities[row["head"]]["text"], relations[row["relation"]], entities[row["tail"]]["text"])
        for row in tables["triples"].to_pylist()
    ]
    return said, entities, json.loads((folder / "graph.json").read_text())


# --- entities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "normal"),
    [("Fire_Truck", "fire truck"), (" a  dog ", "dog"), ("the", "the"), ("T-shirt", "t shirt"), ("an eye", "eye"),
     ("another", "another"), ("", "")],
)  # fmt: skip
def test_normal_form(name, normal):
    assert normal_form(name) == normal


@given(st.text(max_size=12))
def test_the_normal_form_is_idempotent_but_for_articles(name):
    once = normal_form(name)
    assert normal_form(once) == once or once.startswith(("a ", "an ", "the "))
    assert "_" not in once and "  " not in once


@pytest.mark.parametrize(
    ("phrase", "names", "expected"),
    [
        ("dogs", {"dog"}, "dog"), ("dogs", {"cat"}, "dogs"), ("boxes", {"box", "boxe"}, "box"),
        ("horses", {"horse"}, "horse"), ("buses", {"bus"}, "bus"), ("cities", {"city"}, "city"),
        ("women", {"woman"}, "woman"), ("fire men", {"fire man"}, "fire man"), ("news", {"new"}, "news"),
        ("glass", {"glas"}, "glass"), ("bus", {"bu"}, "bus"), ("gas", {"ga"}, "gas"), ("dishes", {"dish"}, "dish"),
    ],
)  # fmt: skip
def test_singulars_are_names_of_the_graph(phrase, names, expected):
    assert singular(phrase, names) == expected


def entities_of(*rows: tuple[str, str, str]) -> Entities:
    names, kinds, sources = map(list, zip(*rows, strict=True))
    n = len(rows)
    return Entities([str(k) for k in range(n)], names, names, kinds, sources, [None] * n, [None] * n)


def test_terms_link_by_words_and_senses_if_unambiguous():
    representative = link(
        entities_of(
            ("dog", "term", "conceptnet"), ("Dogs", "term", "visual_genome"), ("dog", "thing", "visual_genome"),
            ("bank", "sense", "wordnet"), ("bank", "sense", "wordnet"), ("bank", "term", "conceptnet"),
            ("dog", "sense", "wordnet"), ("dog", "sense", "visualsem"), ("", "term", "conceptnet"),
        )
    )  # fmt: skip
    assert representative.tolist() == [0, 0, 2, 3, 4, 5, 0, 0, 8]


def test_sources_meet_in_entities_and_relations(tmp_path):
    (tmp_path / "cn.txt").write_text("IsA\tdog\tanimal\nIsA\tdogs\tpet\nIsA\ta dog\tanimals\n")
    (tmp_path / "wn.txt").write_text("dog.n.01\t_hypernym\tcanine.n.02\nlap_dog.n.01\t_hypernym\tdog.n.01\n")
    vs = tmp_path / "vs"
    vs.mkdir()
    nodes = {"bn:1": {"ms": "Dog", "ims": ["p"]}, "bn:2": {"ms": "animal", "ims": []}}
    links = {"bn:2": [{"s": "bn:1", "r": "is-a"}], "bn:1": [{"s": "bn:2", "r": "related-to"}]}
    glosses = [{}, {"bn:1": {"en": ["Barks."]}}]
    for name, content in (("nodes", nodes), ("tuples", links), ("glosses", glosses)):
        (vs / f"{name}.json").write_text(json.dumps(content))
    sources = (f"conceptnet={tmp_path / 'cn.txt'}", f"wordnet={tmp_path / 'wn.txt'}", f"visualsem={vs}")
    said, entities, report = build(tmp_path / "graph", *sources)
    assert said == [("dog", "is a", "animal"), ("dog", "is a", "pet"), ("dog", "is a", "canine"),
                    ("lap dog", "is a", "dog"), ("animal", "is related to", "dog")]  # fmt: skip
    assert (entities["cn:dog"]["modality"], entities["cn:dog"]["image_key"]) == ("both", "p")
    assert report["n_linked"] == 6
    assert report["sources"]["visualsem"] == {"read": 2, "triples": 1, "duplicates": 1}


# --- relations ------------------------------------------------------------------------------------------------------


def test_the_vocabulary_of_relations_agrees_with_itself():
    assert text_of("AtLocation") == "is located at" and text_of("_hypernym") == text_of("IsA") == "is a"
    assert text_of("riding on") == "riding on" and inverse_of("riding on") is None
    for text in ("left of", "above", "is a", "has part", "is an image of", "next to", "means the same as"):
        assert inverse_of(inverse_of(text)) == text


def test_only_the_first_of_redundant_triples_is_kept():
    texts = ["left of", "right of", "next to", "sees"]
    redundancy = find_redundant(
        triples_of((0, 0, 1), (0, 0, 1), (1, 1, 0), (1, 0, 0), (0, 2, 1), (1, 2, 0), (0, 3, 1), (1, 3, 0), (2, 3, 2)),
        texts,
    )
    assert redundancy.duplicate.nonzero()[0].tolist() == [1]
    assert redundancy.mirrored.nonzero()[0].tolist() == [2, 5]
    assert redundancy.loop.nonzero()[0].tolist() == [8]
    assert redundancy.detected == []


def test_inverse_equal_and_symmetric_relations_are_detected():
    rng = np.random.default_rng(0)
    pairs = [tuple(pair) for pair in rng.permutation(400).reshape(-1, 2).tolist()]
    n = MIN_TRIPLES
    rows = [(h, 0, t) for h, t in pairs[:n]] + [(t, 1, h) for h, t in pairs[:n]]  # owns, owned by
    rows += [(h, 2, t) for h, t in pairs[n : 2 * n]] + [(h, 3, t) for h, t in pairs[n : 2 * n]]  # likes, is fond of
    rows += [(h, 4, t) for h, t in pairs[2 * n : 3 * n]] + [(t, 4, h) for h, t in pairs[2 * n : 3 * n]]  # meets
    rows += [(h, 5, t) for h, t in pairs[3 * n : 5 * n]] + [(t, 6, h) for h, t in pairs[3 * n : 4 * n]]  # half: no tie
    redundancy = find_redundant(triples_of(*rows), ["owns", "owned by", "likes", "is fond of", "meets", "a", "b"])
    assert sorted(redundancy.detected) == [(0, 1, "inverse"), (2, 3, "equal"), (4, 4, "inverse")]
    assert redundancy.mirrored.sum() == 3 * n
    assert redundancy.kept[:n].all() and not redundancy.kept[n : 2 * n].any()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_every_fact_is_kept_once(rows):
    texts = ["left of", "right of", "near", "sees"]
    kept = np.flatnonzero(find_redundant(triples_of(*rows), texts).kept)

    def fact(h, r, t):
        return {(h, r, t), (t, {0: 1, 1: 0, 2: 2}.get(r, 9), h)} - {(t, 9, h)}

    facts = [frozenset(fact(*rows[k])) for k in kept]
    assert len(set(facts)) == len(facts)
    assert set(facts) == {frozenset(fact(*row)) for row in rows if row[0] != row[2]}


# --- split ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80),
    st.integers(0, 3),
)
def test_pairs_stay_together_and_train_has_every_entity(rows, seed):
    triples = triples_of(*rows)
    split = split_triples(triples, 0.2, 0.2, seed)
    pairs = np.stack([np.minimum(triples.head, triples.tail), np.maximum(triples.head, triples.tail)])
    for pair in np.unique(pairs, axis=1).T:
        assert len(set(split[(pair == pairs.T).all(axis=1)])) == 1
    train = split == SPLITS.index("train")
    assert set(triples.head[train]) | set(triples.tail[train]) == set(triples.head) | set(triples.tail)
    assert set(triples.relation[train]) == set(triples.relation)
    assert np.array_equal(split, split_triples(triples, 0.2, 0.2, seed))


def test_the_shares_of_the_split_are_reached():
    rng = np.random.default_rng(0)
    triples = triples_of(
        *zip(rng.integers(0, 50, 1000), rng.integers(0, 3, 1000), rng.integers(0, 50, 1000), strict=True)
    )
    counts = np.bincount(split_triples(triples, 0.1, 0.2, 0))
    assert counts[1] == pytest.approx(100, abs=5) and counts[2] == pytest.approx(200, abs=5)
    assert not np.array_equal(split_triples(triples, 0.1, 0.2, 0), split_triples(triples, 0.1, 0.2, 1))
    assert (split_triples(triples, 0, 0, 0) == 0).all()


# --- restriction, pairs ---------------------------------------------------------------------------------------------

CHAIN = "IsA\tdog\tanimal\nIsA\tanimal\tbeing\nIsA\tbeing\tthing\nAtLocation\tdog\tkennel\nIsA\tlap dog\tdog\n"


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        (0, {("dog", "animal")}),
        (1, {("dog", "animal"), ("animal", "being"), ("dog", "kennel"), ("lap dog", "dog")}),
        (2, {("dog", "animal"), ("animal", "being"), ("dog", "kennel"), ("lap dog", "dog"), ("being", "thing")}),
    ],
)
def test_triples_within_k_hops_of_captions_are_kept(tmp_path, hops, expected):
    (tmp_path / "cn.txt").write_text(CHAIN)
    data = make_data(tmp_path / "data", {"a": ["Two Dogs!", "an animal"]})
    said, entities, report = build(tmp_path / "g", f"conceptnet={tmp_path / 'cn.txt'}", data=data, hops=hops)
    assert {(head, tail) for head, _, tail in said} == expected
    assert {entity["text"] for entity in entities.values()} == {end for pair in expected for end in pair}
    assert report["sources"]["conceptnet"].get("outside_the_corpus", 0) == 5 - len(expected)


def test_restriction_needs_captions_and_must_leave_something(tmp_path):
    (tmp_path / "cn.txt").write_text(CHAIN)
    with pytest.raises(InputError, match="'hops' needs captions to start from"):
        build(tmp_path / "g", f"conceptnet={tmp_path / 'cn.txt'}", hops=1)
    data = make_data(tmp_path / "data", {"a": ["nothing of it"]})
    with pytest.raises(InputError, match="no triple is left"):
        build(tmp_path / "g", f"conceptnet={tmp_path / 'cn.txt'}", data=data, hops=0)
    assert not (tmp_path / "g").exists()


def test_pairs_become_triples_and_equal_captions_one_text(tmp_path):
    data = make_data(tmp_path / "data", {"a": ["A dog .", "a  DOG ."], "b": ["a dog .", "A cat ."]})
    said, entities, _ = build(tmp_path / "g", f"pairs={data}", data=data)
    assert said == [("", "is an image of", "A dog ."), ("", "is an image of", "A dog ."),
                    ("A cat .", "is a caption of", "")]  # fmt: skip
    assert {entity["image_key"] for entity in entities.values() if entity["modality"] == "image"} == {"a", "b"}


def test_captions_become_scene_graphs(tmp_path):
    data = make_data(tmp_path / "data", {"a": ["Black dogs on a couch .", "A dog , no cat ."], "b": ["A dog runs ."]})
    said, entities, _ = build(tmp_path / "g", f"captions={data}", data=data)
    assert set(said) == {("dog", "is an image of", "dog"), ("dog", "has attribute", "black"), ("dog", "on", "couch"),
                         ("couch", "is an image of", "couch")}  # fmt: skip
    assert entities["caption:a/dog"]["modality"] == "both" and entities["caption:word dog"]["modality"] == "text"
    assert sum(entity["text"] == "dog" for entity in entities.values()) == 3


def test_a_graph_is_the_same_every_time(tmp_path):
    (tmp_path / "cn.txt").write_text(CHAIN)
    for name in ("a", "b"):
        build(tmp_path / name, f"conceptnet={tmp_path / 'cn.txt'}")
    for name in ("triples.parquet", "entities.parquet", "relations.parquet", "graph.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
