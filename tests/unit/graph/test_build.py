"""Each source's official files give its triples; the embedded world writes and reads the same formats."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evenclip.data.options import WorldOptions
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import read_pairs
from evenclip.data.world.knowledge import common_sense
from evenclip.data.world.synthesize import synthesize
from evenclip.errors import InputError
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.graph.sources.wordnet import words
from evenclip.graph.tables import in_words, text_of
from evenclip.provenance import Manifest


@pytest.fixture
def built(tmp_path):
    """Build a graph; returns its triples, its entities by id, its relations by id, and its graph.json."""

    def build(*sources: str, data: Path | None = None, **options: Any):
        out = tmp_path / "graph"
        build_graph([GraphSource.from_argument(source) for source in sources], out, data, GraphOptions(**options))
        triples, entities, relations = (
            pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("triples", "entities", "relations")
        )
        return (
            [(row["head"], row["relation"], row["tail"]) for row in triples],
            {row["id"]: row for row in entities},
            {row["id"]: row for row in relations},
            json.loads((out / "graph.json").read_text()),
        )

    return build


def make_data(folder: Path, *keys: str) -> Path:
    with write_shards(folder, Manifest("data", {}, {})) as writer:
        for key in keys:
            writer.add(key, b"jpeg", [], {}, width=1, height=1, sha256=key)
    return folder


# --- ConceptNet -----------------------------------------------------------------------------------------------------

ASSERTIONS = (
    "/a/[/r/AtLocation/,/c/en/fire_truck/n/,/c/en/station/]\t/r/AtLocation\t/c/en/fire_truck/n\t/c/en/station\t{}\n"
    "/a/[/r/AtLocation/,/c/en/fire_truck/,/c/en/station/]\t/r/AtLocation\t/c/en/fire_truck\t/c/en/station\t{}\n"
    "/a/[/r/Synonym/,/c/de/hund/,/c/en/dog/]\t/r/Synonym\t/c/de/hund\t/c/en/dog\t{}\n"
    "/a/[/r/ExternalURL/,...]\t/r/ExternalURL\t/c/en/dog\thttp://example.org/dog\t{}\n"
)


@pytest.mark.parametrize("packed", ["", ".gz", ".zip"])
def test_conceptnets_dump(tmp_path, built, packed):
    path = tmp_path / f"assertions.csv{packed}"
    if packed == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("assertions.csv", ASSERTIONS)
    else:
        path.write_bytes(gzip.compress(ASSERTIONS.encode()) if packed else ASSERTIONS.encode())
    triples, entities, relations, report = built(f"conceptnet={path}")
    assert triples == [("cn:fire truck", "cn:AtLocation", "cn:station")]
    assert entities["cn:fire truck"] == {
        "id": "cn:fire truck", "text": "fire truck", "modality": "text", "image_key": None, "box": None,
    }  # fmt: skip
    assert relations["cn:AtLocation"]["text"] == "is located at"
    assert report["sources"] == {"conceptnet": {"read": 2, "triples": 1, "duplicates": 1, "other_language": 2}}


def test_conceptnet_in_another_language(tmp_path, built):
    (tmp_path / "a.csv").write_text(ASSERTIONS + "/a/x\t/r/IsA\t/c/de/hund\t/c/de/tier\t{}\n")
    assert built(f"conceptnet={tmp_path / 'a.csv'}", language="de")[0] == [("cn:hund", "cn:IsA", "cn:tier")]


def test_cn_100k(tmp_path, built):
    (tmp_path / "train.txt").write_text("AtLocation\trestroom\trest area\nHasA\tdog\ttail\t3.2\n\tx\ty\n")
    triples, _, _, report = built(f"conceptnet={tmp_path / 'train.txt'}", max_malformed_share=0.4)
    assert triples == [("cn:restroom", "cn:AtLocation", "cn:rest area"), ("cn:dog", "cn:HasA", "cn:tail")]
    assert report["sources"]["conceptnet"]["malformed"] == 1
    with pytest.raises(InputError, match="1 of 3 records are malformed") as error:
        built(f"conceptnet={tmp_path / 'train.txt'}")
    assert error.value.where == f"{tmp_path / 'train.txt'}:3"


# --- WordNet, MKG ---------------------------------------------------------------------------------------------------


def test_wn18rr_by_name_and_by_offset(tmp_path, built):
    (tmp_path / "train.txt").write_text("land_reform.n.01\t_hypernym\treform.n.01\n00260881\t_has_part\t00260622\n")
    triples, entities, relations, _ = built(f"wordnet={tmp_path / 'train.txt'}")
    assert triples[0] == ("wn:land_reform.n.01", "wn:hypernym", "wn:reform.n.01")
    assert [entity["text"] for entity in entities.values()] == ["land reform", "reform", "00260881", "00260622"]
    assert relations["wn:has_part"]["text"] == "has part"


@pytest.mark.parametrize(("synset", "text"), [("st._paul.n.01", "st. paul"), ("a.b.s.02", "a.b"), ("x", "x")])
def test_words_of_a_synset(synset, text):
    assert words(synset) == text


@pytest.mark.parametrize(("name", "text"), [("AtLocation", "at location"), ("is-a", "is a"), ("_part_of", "part of"),
                                            ("dbpedia/genre", "dbpedia genre"), ("P161", "p161")])  # fmt: skip
def test_relations_in_words(name, text):
    assert in_words(name) == text


def make_mkg(folder: Path, train: str) -> Path:
    (folder / "entity2id.txt").write_text(
        "2\nhttp://www.wikidata.org/entity/Q1 0\nhttp://www.wikidata.org/entity/Q2 1\n"
    )
    (folder / "relation2id.txt").write_text("1\nhttp://www.wikidata.org/entity/P161 0\n")
    (folder / "train2id.txt").write_text(train)
    return folder


def test_mkg_has_the_relation_last(tmp_path, built):
    folder = make_mkg(tmp_path, "2\n1 0 0\n0 7 0\n")
    triples, entities, _, report = built(f"mkg={folder}", max_malformed_share=0.5)
    assert triples == [("wd:Q2", "wd:P161", "wd:Q1")]
    assert entities["wd:Q1"]["text"] == "Q1"
    assert report["sources"]["mkg"] == {"read": 1, "triples": 1, "malformed": 1}


def test_mkg_that_is_cut_off_is_an_error(tmp_path, built):
    folder = make_mkg(tmp_path, "3\n1 0 0\n")
    with pytest.raises(InputError, match="the first line says 3, but 1 lines follow"):
        built(f"mkg={folder}")
    assert not (tmp_path / "graph").exists()


# --- Visual Genome, VisualSem ---------------------------------------------------------------------------------------


def region(number: int, *names: str, attributes: Any = ()) -> dict[str, Any]:
    return {"object_id": number, "names": list(names), "attributes": attributes and list(attributes), "synsets": [],
            "x": 1, "y": 2, "w": 30, "h": 40}  # fmt: skip


def link(subject: int, predicate: str, other: int) -> dict[str, Any]:
    return {"relationship_id": 9, "predicate": predicate, "subject_id": subject, "object_id": other, "synsets": []}


SCENES = [
    {"image_id": 2407890, "objects": [region(1, "Traffic  Light.", "lamp", attributes=["Red", " "]), region(2, "pole")],
     "relationships": [link(1, "ON", 2), link(1, "on", 2)]},
    {"image_id": 7, "objects": [region(3, "dog", attributes=None)], "relationships": []},
    {"image_id": 8, "objects": [region(4, "cat")], "relationships": [link(4, "on", 99)]},
]  # fmt: skip


def test_visual_genomes_objects_are_parts_of_pictures(tmp_path, built):
    (tmp_path / "scene_graphs.json").write_text(json.dumps(SCENES))
    triples, entities, _, report = built(f"visual_genome={tmp_path / 'scene_graphs.json'}", max_malformed_share=0.5)
    assert triples == [
        ("vg:1", "vg:is an image of", "vg:name traffic light"),
        ("vg:1", "vg:has attribute", "vg:name red"),
        ("vg:2", "vg:is an image of", "vg:name pole"),
        ("vg:1", "vg:on", "vg:2"),
        ("vg:3", "vg:is an image of", "vg:name dog"),
        ("vg:4", "vg:is an image of", "vg:name cat"),
    ]
    assert entities["vg:1"] == {
        "id": "vg:1", "text": "traffic light", "modality": "both", "image_key": "2407890", "box": [1, 2, 30, 40],
    }  # fmt: skip
    assert entities["vg:name red"]["modality"] == "text"
    assert report["sources"]["visual_genome"] == {"read": 7, "triples": 6, "duplicates": 1, "malformed": 1}
    assert report["modalities"] == {"both": 4, "text": 5}


def test_objects_of_pictures_that_are_not_there_are_text(tmp_path, built):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scene_graphs.json").write_text(json.dumps(SCENES[:2]))
    data = make_data(tmp_path / "data", "VG_100K/2407890", "VG_100K/11")
    _, entities, _, report = built(f"visual_genome={tmp_path / 'in'}", data=data)
    assert (entities["vg:1"]["image_key"], entities["vg:3"]["image_key"]) == ("VG_100K/2407890", None)
    assert (entities["vg:3"]["modality"], entities["vg:3"]["box"]) == ("text", None)
    assert report["sources"]["visual_genome"]["pictures_that_are_not_there"] == 1


def test_visualsem(tmp_path, built):
    nodes = {
        "bn:1n": {"ms": "fire_truck", "se": "x", "ims": ["a", "b"]},
        "bn:2n": {"ms": "car", "ims": []},
        "bn:3n": {},
    }
    links = {"bn:2n": [{"s": "bn:1n", "r": "is-a", "r_id": "0"}, {"s": "bn:9n", "r": "is-a"}]}
    glosses = [{"available_languages": ["en", "de"]}, {"bn:2n": {"en": ["Has wheels.", "Other"], "de": ["Hat"]}}]
    for name, content in (("nodes", nodes), ("tuples", links), ("nodes.glosses", glosses)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    data = make_data(tmp_path / "data", "b", "c")
    triples, entities, _, report = built(f"visualsem={tmp_path}", data=data, max_malformed_share=0.7)
    assert triples == [("vs:bn:1n", "vs:is-a", "vs:bn:2n")]
    assert (entities["vs:bn:1n"]["text"], entities["vs:bn:1n"]["image_key"]) == ("fire truck", "b")
    assert (entities["vs:bn:2n"]["text"], entities["vs:bn:2n"]["modality"]) == ("car: Has wheels.", "text")
    assert report["sources"]["visualsem"] == {"read": 1, "triples": 1, "malformed": 2}


# --- the embedded world, the whole ----------------------------------------------------------------------------------


def test_the_embedded_world_through_the_same_readers(tmp_path, built):
    world = tmp_path / "world" / "train"
    synthesize(world, "train", 40, 0, WorldOptions(image_px=32))
    knowledge = world / "knowledge"
    sources = [f"visual_genome={knowledge}", f"conceptnet={knowledge / 'conceptnet-assertions.csv'}",
               f"visualsem={knowledge}"]  # fmt: skip
    triples, entities, relations, report = built(*sources, data=world)
    said = {(entities[head]["text"], relations[name]["text"], entities[tail]["text"]) for head, name, tail in triples}
    for head, name, tail in common_sense():
        assert {(head, text_of(name), tail), (tail, text_of(name), head)} & said
    keys = set(read_pairs(world, ["key"]).column("key").to_pylist())
    pictured = [entity for entity in entities.values() if entity["image_key"] is not None]
    assert pictured and {entity["image_key"] for entity in pictured} <= keys
    assert {entity["image_key"] for entity in pictured if entity["box"]} == keys
    assert all(count.get("malformed", 0) == 0 for count in report["sources"].values())
    assert {end for head, _, tail in triples for end in (head, tail)} <= set(entities)
    assert {relation for _, relation, _ in triples} == set(relations)
    assert report["n_triples"] == len(triples) == sum(count["triples"] for count in report["sources"].values())


@pytest.mark.parametrize(
    ("argument", "content", "message"),
    [
        ("freebase={}", "x", "not FORMAT=PATH"),
        ("conceptnet=", "x", "not FORMAT=PATH"),
        ("conceptnet={}.none", "x", "no such file"),
        ("conceptnet={}", "", "the source has no triple"),
        ("conceptnet={}", b"\xff\xfe\x00a", "not UTF-8"),
        ("visual_genome={}", "[{", "not readable JSON"),
        ("visual_genome={}", '[{"image_id": 1}]', "1 of 1 records are malformed"),
        ("visualsem={}", "x", "no nodes.json"),
    ],
)
def test_a_file_of_another_format_is_an_error(tmp_path, built, argument, content, message):
    path = tmp_path / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        built(argument.format(path))
    assert not (tmp_path / "graph").exists()
