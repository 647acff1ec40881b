"""Each block of a study gives the arguments of its stage, and names the files that the stage reads."""

import itertools
import subprocess
import sys

import pytest

from evenclip.data.options import WorldOptions
from evenclip.errors import InputError
from evenclip.evaluate.options import Task
from evenclip.graph import GraphOptions
from support.demo_study import LABEL, demo_values, demo_with, options_of


def test_the_image_side_is_passed_on():
    embedding = {"model": "RN50:openai", "attribute_data": "world/people", "attributes": ["group"]}
    config = demo_with({"label": LABEL | {"embedding": embedding}}).config
    block = config.label.embedding
    assert block.embed_arguments(config.training_data) == [
        "--model", "RN50:openai", "--set", "pairs=data/world/train", "--set", "annotated=data/world/people"
    ]  # fmt: skip
    assert block.inputs("world/train") == ["data/world/train/manifest.json", "data/world/people/manifest.json"]
    assert block.label_arguments("E") == [
        "--embeddings", "E/pairs.npz", "--attribute-set", "E/annotated.npz",
        "--attribute-data", "data/world/people", "--attribute", "group",
    ]  # fmt: skip


def test_one_command_evaluates_every_set_with_its_tasks():
    block = demo_with().config.evaluate
    words = list(itertools.pairwise(block.arguments()))
    sets = dict(value.split("=", 1) for flag, value in words if flag == "--dataset")
    assert sets == {name: f"data/{measured.data}" for name, measured in block.sets.items()}
    tasks = [value.split("=", 1) for flag, value in words if flag == "--task"]
    for name, measured in block.sets.items():
        assert [Task.from_argument(task) for of, task in tasks if of == name] == measured.tasks


def test_a_set_that_only_trains_probes_is_not_evaluated():
    sets = demo_values()["evaluate"]["sets"]
    probe = {"kind": "linear_probe", "column": "occupation", "train_split": "train"}
    sets["world_people"]["tasks"].append(probe)
    lexicon = {"lexicon": "config/lexicons/world.yaml"}
    unmeasured = {"trains": {"data": "world/train", "tasks": []} | lexicon}
    study = demo_with({"evaluate": {"sets": sets | unmeasured}})
    block = study.config.evaluate
    assert "trains=data/world/train" in block.embed_arguments() and "trains" in block.probe_sets().values()
    assert "trains" not in block.measured and not any("trains=" in word for word in block.arguments())
    assert "trains" not in study.summarize_arguments()


def test_sets_are_embedded_with_their_prompt_files():
    sets = [word for word in demo_with().config.evaluate.embed_arguments() if word != "--set"]
    assert "world_mixed=data/world/mixed" in sets
    people = "world_people=data/world/people:config/prompts/world_groups.yaml,config/prompts/world_occupations.yaml"
    assert people in sets


def test_a_drawn_data_set_passes_the_worlds_options_on():
    values = demo_values()
    values["data"]["world"]["world"] = {"group_share": 0.9}
    words = demo_with(values).config.data["world"].arguments("train")
    n = str(values["data"]["world"]["splits"]["train"])
    seed = str(values["data"]["world"]["seed"])
    assert words[:7] == ["synthesize", "--split", "train", "--n", n, "--seed", seed]
    assert WorldOptions.from_arguments(options_of(words)).group_share == 0.9


def test_the_root_of_imported_data_takes_environment_variables(monkeypatch):
    data = demo_values()["data"] | {"utkface": {"source": "import", "root": "${EVENCLIP_REAL_DATA}/utkface"}}
    monkeypatch.setenv("EVENCLIP_REAL_DATA", "/with space")
    words = demo_with({"data": data}).config.data["utkface"].arguments("all")
    assert words[:3] == ["import", "--source", "/with space/utkface"]


def test_edited_raw_files_change_the_listing(tmp_path):
    (tmp_path / "one.txt").write_text("1")
    data = demo_values()["data"] | {"mine": {"source": "import", "root": str(tmp_path)}}
    config = demo_with({"data": data}).config
    listings = [config.data["mine"].listing(), config.data["mine"].listing()]
    (tmp_path / "one.txt").write_text("2")
    listings.append(config.data["mine"].listing())
    assert listings[0] == listings[1] != listings[2]
    assert config.data["world"].listing() == ""


def test_a_probe_trains_on_the_set_of_its_training_split():
    probe = {
        "data": "world/people",
        "tasks": [{"kind": "linear_probe", "column": "occupation", "train_split": "mixed"}],
    }
    sets = demo_values()["evaluate"]["sets"] | {"probed": probe}
    block = demo_with({"evaluate": {"sets": sets}}).config.evaluate
    assert block.probe_sets() == {"probed": "world_mixed"}
    del sets["world_mixed"]
    with pytest.raises(InputError, match="no evaluation set has the training split world/mixed"):
        demo_with({"evaluate": {"sets": sets}})


def test_a_graph_reads_data_folders_by_their_manifest(monkeypatch):
    sources = {"conceptnet": "${KG}/a.csv", "visual_genome": "data/world/train/knowledge", "pairs": "data/world/train"}
    monkeypatch.setenv("KG", "raw")
    config = demo_with({"graph": {"sources": sources, "options": {"hops": 1}}}).config
    assert config.graph.inputs(config.data) == ["raw/a.csv", "data/world/train/manifest.json"]
    words = config.graph.arguments()
    assert [value for flag, value in itertools.pairwise(words) if flag == "--source"] == [
        "conceptnet=raw/a.csv", "visual_genome=data/world/train/knowledge", "pairs=data/world/train"
    ]  # fmt: skip
    assert GraphOptions.from_arguments(options_of(words)) == GraphOptions(hops=1)


def test_questions_are_read_from_the_data_they_come_with():
    files = {"questions": "data/world/train/knowledge/q.json", "annotations": "${ANSWERS:-raw/a.json}"}
    block = {part: files | {"data": f"world/{split}"} for part, split in (("train", "train"), ("test", "mixed"))}
    study = demo_with({"vqa": {"asked": block | {"options": {"lr": 2e-3}}}})
    asked = study.config.vqa["asked"]
    assert asked.files("test").inputs(study.config.data) == [
        "data/world/mixed/manifest.json", "data/world/train/manifest.json", "raw/a.json",
    ]  # fmt: skip
    assert asked.files("test").arguments() == [
        "data/world/train/knowledge/q.json", "--annotations", "raw/a.json", "--data", "data/world/mixed"
    ]  # fmt: skip
    words = asked.arguments("asked", "tables")
    assert words[:4] == [
        "--train=tables/train.parquet=data/world/train", "--test=tables/test.parquet=data/world/mixed",
        "--name", "asked",
    ]  # fmt: skip
    assert options_of(words) == ["lr=0.002"]
    assert "asked" in study.summarize_arguments()


def test_a_plan_loads_options_and_nothing_that_computes():
    heavy = "{'torch', 'pandas', 'scipy.sparse', 'scipy.linalg', 'scipy.special', 'sklearn', 'mlflow'}"
    code = f"import sys, evenclip.study.closing; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""
