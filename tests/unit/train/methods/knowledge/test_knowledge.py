"""The world's knowledge files: in the formats they stand for, and true of the scenes."""

import json
from collections import Counter
from pathlib import Path

import pytest

from evenclip.data.options import WorldOptions
from evenclip.data.shards import read_pairs
from evenclip.data.world.knowledge import common_sense, scene_graph
from evenclip.data.world.probes import PROBES
from evenclip.data.world.scene import GROUPS, HOME_SETTING, OCCUPATIONS, TOOLS, Figure, Scene, Thing
from evenclip.data.world.synthesize import draw_sample, synthesize

N = 300


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "train"
    synthesize(folder, "train", N, 0, WorldOptions())
    return folder


def read(folder: Path, name: str):
    return json.loads((folder / "knowledge" / f"{name}.json").read_text())


def test_scene_graph_of_a_known_scene():
    figure = Figure(GROUPS[0], "lorker", x=0.7, y=0.5)
    graph = scene_graph(Scene("yard", (Thing("star", "red", "large", 0.25, 0.5),), figure, "left"), 7, 100)
    names = {entry["object_id"]: entry["names"][0] for entry in graph["objects"]}
    assert names == {70: "star", 71: "lorker", 72: "mallet", 73: "yard"}
    assert graph["objects"][0]["attributes"] == ["red", "large"] and graph["objects"][1]["attributes"] == [GROUPS[0]]
    said = {(names[r["subject_id"]], r["predicate"], names[r["object_id"]]) for r in graph["relationships"]}
    assert said == {
        ("lorker", "holding", "mallet"), ("star", "left of", "lorker"), ("lorker", "right of", "star"),
        ("star", "in", "yard"), ("lorker", "in", "yard"), ("mallet", "in", "yard"),
    }  # fmt: skip


def test_scene_graphs_are_as_visual_genome_has_them(train: Path):
    graphs = read(train, "scene_graphs")
    assert [graph["image_id"] for graph in graphs] == list(range(N))
    ids = [entry["object_id"] for graph in graphs for entry in graph["objects"]]
    relations = [(graph, r) for graph in graphs for r in graph["relationships"]]
    assert len(set(ids)) == len(ids)
    assert len({r["relationship_id"] for _, r in relations}) == len(relations)
    for graph in graphs:
        for entry in graph["objects"]:
            assert entry["x"] >= 0 and entry["x"] + entry["w"] <= 64 and entry["w"] > 0
            assert entry["y"] >= 0 and entry["y"] + entry["h"] <= 64 and entry["h"] > 0
    for graph, relation in relations:
        inside = {entry["object_id"] for entry in graph["objects"]}
        assert {relation["subject_id"], relation["object_id"]} <= inside


def test_questions_are_as_vqa_has_them_and_not_guessable(train: Path):
    questions = read(train, "v2_OpenEnded_world_train_questions")["questions"]
    annotations = read(train, "v2_world_train_annotations")["annotations"]
    assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
    assert len({q["question_id"] for q in questions}) == 2 * N
    for annotation in annotations:
        given = Counter(answer["answer"] for answer in annotation["answers"])
        assert given.total() == 10 and given.most_common(1)[0][0] == annotation["multiple_choice_answer"]
        assert [answer["answer_id"] for answer in annotation["answers"]] == list(range(1, 11))
    for kind in ("is the", "is there no"):
        answers = [a["multiple_choice_answer"] for a in annotations if a["question_type"] == kind]
        assert 0.38 < answers.count("yes") / len(answers) < 0.62


def test_answers_are_true_of_the_scenes(train: Path):
    questions = read(train, "v2_OpenEnded_world_train_questions")["questions"]
    annotations = read(train, "v2_world_train_annotations")["annotations"]
    checked = Counter()
    for question, annotation in zip(questions, annotations, strict=True):
        scene = draw_sample("train", question["image_id"], 0, WorldOptions()).scene
        text, answer = question["question"].rstrip("?"), annotation["multiple_choice_answer"]
        match annotation["question_type"]:
            case "what color is the":
                true = {t.shape: t.color for t in scene.things}[text.split()[-1]]
            case "what size is the":
                true = {t.name: t.size for t in scene.things}[" ".join(text.split()[-2:])]
            case "where is":
                true = scene.setting
            case "is there no":
                true = "no" if " ".join(text.split()[-2:]) in {t.name for t in scene.things} else "yes"
            case _:
                words = {"left": "left", "right": "right", "above": "upper", "below": "lower"}
                lone = scene.figure is None and len(scene.things) == 1
                said = words[scene.place] if lone else scene.place
                true = "yes" if said in text.split() else "no"
        checked[annotation["question_type"], answer == true] += 1
    assert len(checked) == 5 and all(is_true for _, is_true in checked)


def test_common_sense_is_symmetric_and_names_no_bias():
    triples = set(common_sense())
    assert len(triples) == len(common_sense())
    assert {("left", "Antonym", "right"), ("lorker", "HasA", "mallet"), ("lorker", "AtLocation", "yard")} <= triples
    for head, relation, tail in triples:
        if relation in ("Antonym", "DistinctFrom"):
            assert (tail, relation, head) in triples
        assert not (head in GROUPS and tail in OCCUPATIONS) and not (head in OCCUPATIONS and tail in GROUPS)


def test_assertions_are_as_conceptnet_dumps_them(train: Path):
    lines = (train / "knowledge/conceptnet-assertions.csv").read_text().splitlines()
    facts = set()
    for line in lines:
        uri, relation, head, tail, details = line.split("\t")
        assert uri == f"/a/[{relation}/,{head}/,{tail}/]" and json.loads(details)["weight"] == 1.0
        facts.add((head.removeprefix("/c/en/"), relation.removeprefix("/r/"), tail.removeprefix("/c/en/")))
    assert facts == set(common_sense())


def test_entities_follow_visualsem_and_their_images_show_them(train: Path):
    nodes, tuples, glosses = (read(train, name) for name in ("nodes", "tuples", "nodes.glosses"))
    assert {next(iter(entry)) for entry in glosses[1:]} == set(nodes)
    assert glosses[0] == {"available_languages": ["en"]}
    names = {node: entry["ms"] for node, entry in nodes.items()}
    said = {(names[e["s"]], e["r"], names[tail]) for tail, entries in tuples.items() for e in entries}
    for occupation in OCCUPATIONS:
        assert (TOOLS[occupation], "used-by", occupation) in said
        assert (occupation, "located-at", HOME_SETTING[occupation]) in said
    rows = {row["key"]: row for row in read_pairs(train).to_pylist()}
    for name, column in [(GROUPS[0], "group"), ("lorker", "occupation"), ("yard", "setting")]:
        images = next(entry["ims"] for entry in nodes.values() if entry["ms"] == name)
        assert 0 < len(images) <= 10 and all(rows[key][column] == name for key in images)


def test_probes_are_as_sugarcrepe_has_them(tmp_path: Path):
    synthesize(tmp_path / "probes", "probes", 40, 0, WorldOptions())
    rows = {f"{row['key']}.jpg": row for row in read_pairs(tmp_path / "probes").to_pylist()}
    for probe in PROBES:
        entries = read(tmp_path / "probes", f"sugarcrepe/{probe}")
        assert list(entries) == [str(number) for number in range(8)]
        for entry in entries.values():
            row = rows[entry["filename"]]
            assert (row["probe"], row["caption"], row["foil"]) == (probe, entry["caption"], entry["negative_caption"])


def test_knowledge_does_not_depend_on_how_many_scenes_are_drawn(train: Path, tmp_path: Path):
    synthesize(tmp_path / "few", "train", 20, 0, WorldOptions())
    assert read(tmp_path / "few", "scene_graphs") == read(train, "scene_graphs")[:20]
    few = read(tmp_path / "few", "v2_world_train_annotations")["annotations"]
    assert few == read(train, "v2_world_train_annotations")["annotations"][: len(few)]
