"""Study files: the committed ones are valid, references are checked, and each stage gets its own keys only."""

import itertools
import shlex

import pytest

from evenclip.data.options import WorldOptions
from evenclip.errors import InputError
from evenclip.evaluate.options import Task
from evenclip.graph import GraphOptions
from evenclip.options import Options, read_yaml
from evenclip.study.commands import Study, load_study
from evenclip.study.runs import Run
from evenclip.train.options import TrainOptions
from support.project import ROOT

STUDIES = [ROOT / "config/config.yaml", *sorted((ROOT / "config/studies").glob("*.yaml"))]
LABEL = {"dataset": "world", "lexicon": "config/lexicons/world.yaml"}


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def demo() -> dict:
    return read_yaml("config/config.yaml")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_committed_studies_are_valid(path):
    study = load_study(path)
    assert study.runs and all(run.strategy in study.config.balance for run in study.runs.values())


def options_of(arguments: str) -> list[str]:
    words = shlex.split(arguments)
    return [value for flag, value in itertools.pairwise(words) if flag == "--option"]


def test_train_arguments_carry_the_block_and_the_rows_overrides(demo, tmp_path):
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("run\tstrategy\ttrain.lr\ttrain.objective\na\tnone\t\t\nb\tm4\t3e-4\tsiglip\n")
    study = Study.from_mapping(demo | {"ablations": str(sheet)}, "demo")
    base = study.config.train
    assert TrainOptions.from_arguments(options_of(study.train_arguments("a"))) == base
    changed = base.model_copy(update={"lr": 3e-4, "objective": "siglip"})
    assert TrainOptions.from_arguments(options_of(study.train_arguments("b"))) == changed


def test_a_column_may_name_one_key_of_a_nested_block(demo, monkeypatch):
    class Inner(Options):
        share: float = 0.5
        size: int = 4

    class Outer(TrainOptions):
        inner: Inner | None = None

    monkeypatch.setattr("evenclip.study.commands.TrainOptions", Outer)
    cells = {"a": {}, "b": {"train.inner.share": 0.1}, "c": {"train.inner": {"size": 2}}}
    runs = {name: Run(name, "none", overrides) for name, overrides in cells.items()}
    study = Study(Study.from_mapping(demo, "demo").config, runs)
    assert [study.train_options(run).inner for run in cells] == [None, Inner(share=0.1), Inner(size=2)]


def test_the_image_side_is_checked_and_passed_on(demo):
    demo["label"]["embedding"] = {"model": "RN50:openai", "attribute_data": "world/people", "attributes": ["group"]}
    study = Study.from_mapping(demo, "demo")
    assert study.label_embedding_arguments() == (
        "--model RN50:openai --set pairs=data/world/train --set annotated=data/world/people"
    )
    assert study.label_embedding_inputs() == ["data/world/train/manifest.json", "data/world/people/manifest.json"]
    assert study.image_side_arguments("E") == (
        "--embeddings E/pairs.npz --attribute-set E/annotated.npz --attribute-data data/world/people --attribute group"
    )


def test_evaluate_arguments_round_trip(demo):
    study = Study.from_mapping(demo, "demo")
    for name, block in study.config.evaluate.sets.items():
        words = shlex.split(study.evaluate_arguments(name))
        tasks = [Task.from_argument(value) for flag, value in itertools.pairwise(words) if flag == "--task"]
        assert tasks == block.tasks


def test_data_command_carries_the_worlds_knobs(demo):
    demo["data"]["world"]["world"] = {"group_share": 0.9}
    command = Study.from_mapping(demo, "demo").data_command("world", "train")
    assert command.startswith("synthesize --split train --n 6000 --seed 0")
    assert WorldOptions.from_arguments(options_of(command)).group_share == 0.9


def test_imported_root_takes_environment_variables(monkeypatch):
    monkeypatch.setenv("EVENCLIP_REAL_DATA", "/with space")
    command = load_study("config/studies/flickr8k.yaml").data_command("utkface", "all")
    assert shlex.split(command)[:3] == ["import", "--source", "/with space/utkface"]


def test_an_edited_file_of_an_imported_data_set_changes_its_listing(demo, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.txt").write_text("1")
    demo["data"]["mine"] = {"source": "import", "root": str(tmp_path)}
    study = Study.from_mapping(demo, "demo")
    listings = [study.data_listing("mine"), study.data_listing("mine")]
    (tmp_path / "a/one.txt").write_text("12")
    listings.append(study.data_listing("mine"))
    (tmp_path / "a/two.txt").write_text("1")
    listings.append(study.data_listing("mine"))
    assert listings[0] == listings[1] and len(set(listings)) == 3
    assert study.data_listing("world") == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [0]}, "did you mean 'seeds'"),
        ({"label": LABEL | {"options": {"utility": ["similarity"]}}}, "similarity needs embeddings"),
        ({"label": LABEL | {"embedding": {"model": "m", "attributes": ["group"]}}}, "belong together"),
        ({"label": LABEL | {"embedding": {"model": "m", "attribute_data": "world/x"}}}, "unknown data 'world/x'"),
        ({"label": LABEL | {"embedding": {"model": "m"}}, "scatter": 2}, "compares all pairs"),
        ({"seeds": []}, "seeds"),
        ({"study": "my study"}, "study"),
        ({"label": LABEL | {"dataset": "wrold"}}, "unknown data 'wrold/train'"),
        ({"train": {"model": "config/models/none.json"}}, "config/models/none.json"),
    ],
)
def test_wrong_study_is_one_message(demo, change, message):
    with pytest.raises(InputError, match=message):
        Study.from_mapping(demo | change, "demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run\nx\n", "column 'strategy' is missing"),
        ("run\tstrategy\n", "no runs"),
        ("run\tstrategy\nx\tm4\nx\tnone\n", "same run name"),
        ("run\tstrategy\nx\tm5\n", "row 1: unknown strategy 'm5'"),
        ("run\tstrategy\tlr\nx\tm4\t1\n", "unknown column 'lr'"),
        ("run\tstrategy\ttrain.lrr\nx\tm4\t1\n", "did you mean 'lr'"),
        ("run\tstrategy\ttrain.lr\nx\tm4\t-1\n", "run x: 'lr'"),
        ("run\tstrategy\nX y\tm4\n", "cannot name a run"),
        ("run\tstrategy\n1x\tm4\n", "cannot name a run"),
        ("run\tstrategy\nreport\tm4\n", "cannot name a run"),
        ("run\tstrategy\nx\tm4\t1\n", "more cells than columns"),
    ],
)
def test_wrong_ablation_sheet_is_one_message(demo, tmp_path, text, message):
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text(text)
    with pytest.raises(InputError, match=message):
        Study.from_mapping(demo | {"ablations": str(sheet)}, "demo")


def test_a_probe_trains_on_the_set_of_its_training_split(demo):
    probe = {
        "data": "world/people",
        "tasks": [{"kind": "linear_probe", "column": "occupation", "train_split": "mixed"}],
    }
    sets = demo["evaluate"]["sets"] | {"probed": probe}
    study = Study.from_mapping(demo | {"evaluate": {"sets": sets}}, "demo")
    assert study.probe_set("probed") == "world_mixed" and study.probe_set("world_mixed") is None
    del sets["world_mixed"]
    with pytest.raises(InputError, match="no evaluation set has the training split world/mixed"):
        Study.from_mapping(demo | {"evaluate": {"sets": sets}}, "demo")


def test_the_graph_reads_data_folders_by_their_manifest_and_other_files_as_they_are(demo, monkeypatch):
    demo["graph"] = {
        "sources": {
            "conceptnet": "${KG}/a.csv",
            "visual_genome": "data/world/train/knowledge",
            "pairs": "data/world/train",
        },
        "options": {"hops": 1},
    }
    monkeypatch.setenv("KG", "raw")
    study = Study.from_mapping(demo, "demo")
    assert study.graph_files() == ["raw/a.csv", "data/world/train/manifest.json"]
    words = shlex.split(study.graph_arguments())
    assert [value for flag, value in itertools.pairwise(words) if flag == "--source"] == [
        "conceptnet=raw/a.csv", "visual_genome=data/world/train/knowledge", "pairs=data/world/train"
    ]  # fmt: skip
    assert GraphOptions.from_arguments(options_of(study.graph_arguments())) == GraphOptions(hops=1)
    del demo["graph"]
    assert Study.from_mapping(demo, "demo").graph_arguments() == ""


def test_a_graph_of_data_that_is_not_there_is_an_error(demo):
    demo["graph"] = {"sources": {"pairs": "data/world/nosuch"}}
    with pytest.raises(InputError, match="unknown data 'world/nosuch'") as error:
        Study.from_mapping(demo, "demo")
    assert "data/world/nosuch" in error.value.where


def test_runs_that_learn_from_knowledge_need_the_studys_graph(demo, tmp_path):
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("run\tstrategy\ttrain.knowledge\nplain\tnone\t\nknowing\tnone\t{kd: 0}\n")
    values = demo | {"ablations": str(sheet), "graph": {"sources": {"captions": "data/world/train"}}}
    study = Study.from_mapping(values, "demo")
    assert not study.uses_graph("plain") and study.uses_graph("knowing")
    with pytest.raises(InputError, match="run knowing: the study has no knowledge graph"):
        Study.from_mapping(values | {"graph": None}, "demo")


def test_links_are_predicted_by_the_runs_with_an_encoder(demo, tmp_path):
    sheet = tmp_path / "sheet.tsv"
    rows = ("plain\tnone\t", "knowing\tnone\t{kd: 0}", "told\tnone\t{as_captions: 1}")
    sheet.write_text("\n".join(("run\tstrategy\ttrain.knowledge", *rows, "")))
    graph = {"graph": {"sources": {"captions": "data/world/train"}}}
    values = demo | {"ablations": str(sheet), "links": {"triples": 50}}
    study = Study.from_mapping(values | graph, "demo")
    assert study.linking_runs() == ["knowing"]
    assert "--linking knowing" in study.summarize_arguments()
    assert study.links_arguments().startswith("--name world") and "triples=50" in study.links_arguments()
    assert Study.from_mapping(demo | graph | {"ablations": str(sheet)}, "demo").linking_runs() == []
    sheet.write_text("\n".join(("run\tstrategy\ttrain.knowledge", rows[0], "")))
    with pytest.raises(InputError, match="links: no run learns links"):
        Study.from_mapping(values | graph, "demo")
    with pytest.raises(InputError, match="links: no graph"):
        Study.from_mapping(values | {"graph": None}, "demo")


def test_a_first_stage_is_another_strategys_weights_and_an_input(demo, monkeypatch):
    monkeypatch.chdir(ROOT)
    demo["train"] = demo.get("train", {}) | {"stages": {"first": "none", "share": 0.1}}
    study = Study.from_mapping(demo, "test")
    assert study.stage_outputs("m4") == ["results/demo/balance/none/weights.parquet"]
    assert "results/demo/balance/none/weights.parquet" in study.train_arguments("m4")
    assert study.model_files("m4", 0) == [study.config.train.model]


def test_every_seed_may_start_from_a_checkpoint_of_its_own(demo):
    demo["train"] = demo.get("train", {}) | {"init": "results/other/train/a/seed{seed}/model.safetensors"}
    study = Study.from_mapping(demo, "test")
    for seed in (0, 1):
        start = f"results/other/train/a/seed{seed}/model.safetensors"
        assert study.model_files("m4", seed) == [study.config.train.model, start]


def test_what_the_bias_probe_looks_at_is_an_input(demo, monkeypatch):
    monkeypatch.chdir(ROOT)
    prompts = {"groups": "config/prompts/world_groups.yaml", "labels": "config/prompts/world_occupations.yaml"}
    probe = {"images": "data/world/unmarked", "people": "data/world/people", "column": "group"} | prompts
    demo["train"] = demo.get("train", {}) | {"probe": probe}
    study = Study.from_mapping(demo, "test")
    assert study.stage_outputs("m4") == ["data/world/unmarked/manifest.json", "data/world/people/manifest.json"]
    assert study.model_files("m4", 0) == [study.config.train.model, *prompts.values()]


def test_a_studys_questions_are_read_from_the_data_they_come_with(demo):
    files = {"questions": "data/world/train/knowledge/q.json", "annotations": "${ANSWERS:-raw/a.json}"}
    block = {part: files | {"data": f"world/{split}"} for part, split in (("train", "train"), ("test", "mixed"))}
    study = Study.from_mapping(demo | {"vqa": {"asked": block | {"options": {"lr": 2e-3}}}}, "demo")
    assert study.question_inputs("asked", "test") == [
        "data/world/mixed/manifest.json", "data/world/train/manifest.json", "raw/a.json",
    ]  # fmt: skip
    arguments = shlex.split(study.vqa_arguments("asked", "tables"))
    assert arguments[:6] == [
        "--train", "tables/train.parquet=data/world/train", "--test", "tables/test.parquet=data/world/mixed",
        "--name", "asked",
    ]  # fmt: skip
    assert options_of(study.vqa_arguments("asked", "tables")) == ["lr=0.002"]
    assert "--set asked" in study.summarize_arguments()
    with pytest.raises(InputError, match="names an evaluation set too"):
        Study.from_mapping(demo | {"vqa": {"world_mixed": block}}, "demo")
    with pytest.raises(InputError, match="unknown data 'world/nowhere'"):
        wrong = block | {"test": files | {"data": "world/nowhere"}}
        Study.from_mapping(demo | {"vqa": {"asked": wrong}}, "demo")
