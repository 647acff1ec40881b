"""`evenclip evaluate` as a tool: a model or embeddings, suites or tasks, a table or JSON, and what is refused."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from evenclip.cli import app
from evenclip.digests import with_digest
from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.errors import InputError
from evenclip.evaluate import formats
from evenclip.evaluate.suites import SUITES, DatasetSuites, Suites, find_set, read_suites
from evenclip.model.clip import create_clip, save_clip
from evenclip.model.identity import model_identity
from evenclip.prompts import read_prompts
from support.evaluate_example import arrays, truth_rows, write_data
from support.tiny_training import write_model

N = 120
PROMPTS = {"templates": ["a {}", "one {}"], "classes": {f"object{c}": [f"thing {c}"] for c in range(6)}}
SUITE = """
datasets:
  things:
    data: things/all
    suites:
      quality: [{kind: zeroshot, column: object, prompts: objects}]
      bias: [{kind: association, column: group, prompts: objects}]
  more:
    data: more/all
    suites:
      quality: [{kind: zeroshot, column: object, prompts: objects}]
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a data set, embeddings, a model, prompts and suites."""
    root = tmp_path_factory.mktemp("command")
    write_data(root / "data" / "things" / "all", truth_rows(N))
    np.savez(root / "s.npz", **arrays(N))
    torch.manual_seed(0)
    (root / "run").mkdir()
    save_clip(create_clip(str(write_model(root / "tiny.json"))), root / "run")
    torch.manual_seed(1)
    (root / "other").mkdir()
    save_clip(create_clip(str(root / "tiny.json")), root / "other")
    write_data(root / "data" / "more" / "all", truth_rows(N))
    (root / "config" / "prompts").mkdir(parents=True)
    (root / "config" / "prompts" / "objects.yaml").write_text(yaml.safe_dump(PROMPTS))
    (root / "config" / "suites.yaml").write_text(SUITE)
    return root


@pytest.fixture
def evaluate(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command in the working folder; returns what it printed."""
    monkeypatch.chdir(root)

    def run(*arguments: str, out: Path = tmp_path / "s.json") -> str:
        command = ["evaluate", "--out", str(out), "--option", "resamples=100", *arguments]
        return CliRunner().invoke(app, command, catch_exceptions=False).stdout

    return run


def test_a_model_by_its_suite_writes_json_and_prints_a_table(evaluate, tmp_path):
    printed = evaluate("--model", "run", "--dataset", "things")
    document = json.loads((tmp_path / "s.json").read_text())
    manifest = document["manifest"]
    assert manifest["model"] == "run" and manifest["embedding"] == {"precision": "fp32", "device": "auto"}
    assert manifest["model_identity"] == model_identity("run") and "model" in manifest["model_identity"]
    assert {row["metric"] for row in document["metrics"] if not row["people"]} == {
        f"zeroshot/things/{metric}" for metric in ("acc1", "acc5", "mean_per_class_recall", "true_class_probability")
    }
    about_people, things = printed.split("not about people")
    assert "bias/things/ab_max" in about_people and "zeroshot/things/acc1" in things
    assert "zeroshot" not in about_people and "random" in things


def test_one_suite_as_json_on_embeddings(evaluate):
    document = json.loads(
        evaluate("--embeddings", "s.npz", "--dataset", "things", "--suite", "bias", "--format", "json")
    )
    families = {row["metric"].partition("/")[0] for row in document["metrics"]}
    assert families == {"bias"} and "model" not in document["manifest"]


def test_tasks_on_a_folder_need_no_suite(evaluate):
    folder = Path("data/things/all")
    document = json.loads(evaluate("--embeddings", "s.npz", "--dataset", f"mine={folder}", "--task", "retrieval",
                                   "--format", "json", "--suites", "nowhere.yaml"))  # fmt: skip
    assert {row["metric"].split("/")[1] for row in document["metrics"]} == {"mine"}


@pytest.fixture
def embedded(root, tmp_path):
    """Embeddings of both data sets by seeds 0 and 1 of a model: their path, with {seed} and {dataset} in it."""
    prompts = [root / "config" / "prompts" / "objects.yaml"]
    sets = [EmbedSet(name, root / "data" / name / "all", prompts) for name in ("things", "more")]
    models = {str(root / name): tmp_path / f"seed{seed}" for seed, name in enumerate(("run", "other"))}
    embed_sets(models, sets, EmbedOptions(device="cpu"))
    return str(tmp_path / "seed{seed}" / "{dataset}.npz")


def test_sets_and_seeds_in_one_command_are_as_each_alone(evaluate, embedded, tmp_path):
    tasks = {"things": "things=retrieval", "more": "more=zeroshot:{column: object, prompts: objects}"}
    both = [f"--dataset={name}" for name in tasks] + [f"--task={task}" for task in tasks.values()]
    evaluate("--embeddings", embedded, *both, "--seed", "0", "--seed", "1", out=tmp_path / "{dataset}_{seed}.json")
    for name, task in tasks.items():
        for seed in (0, 1):
            own = embedded.replace("{dataset}", name).replace("{seed}", str(seed))
            alone = ["--dataset", name, "--embeddings", own, "--task", task.partition("=")[2], "--seed", str(seed)]
            evaluate(*alone, out=tmp_path / "alone.json")
            together, single = (json.loads((tmp_path / path).read_text())["metrics"]
                                for path in (f"{name}_{seed}.json", "alone.json"))  # fmt: skip
            assert together == single and together


def test_each_set_may_have_a_lexicon_of_its_own(evaluate, embedded, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "evenclip.evaluate.evaluate_set",
        lambda data, files, name, tasks, path, *_, lexicon: seen.update({name: lexicon}) or {"metrics": []},
    )
    sets = ["--dataset", "things", "--dataset", "more", "--lexicon", "more=words=2.yaml", "--format", "json"]
    evaluate("--embeddings", embedded.replace("{seed}", "0"), *sets, out=tmp_path / "{dataset}.json")
    assert seen == {"things": None, "more": Path("words=2.yaml")}


def test_a_failure_names_its_set(evaluate, embedded, tmp_path):
    sets = ["--dataset", "things", "--dataset", "more", "--task", "more=zeroshot:{column: nothing, prompts: objects}"]
    with pytest.raises(InputError, match="more.*nothing|nothing.*more"):
        evaluate("--embeddings", embedded.replace("{seed}", "0"), *sets, out=tmp_path / "{dataset}.json")


def test_one_set_is_named_by_a_flag_too(evaluate):
    common = ("--embeddings", "s.npz", "--task", "retrieval", "--format", "json")
    by_flag, by_equals = (json.loads(evaluate("--dataset", *words, *common)) for words in
                          (("things", "--name", "mine"), ("mine=things",)))  # fmt: skip
    assert by_flag["metrics"] == by_equals["metrics"]
    assert {row["metric"].split("/")[1] for row in by_flag["metrics"]} == {"mine"}


def test_embeddings_of_embed_say_whose_they_are(evaluate, root, tmp_path):
    for name in ("one", "two"):
        embed_sets({"run": tmp_path / name}, [EmbedSet("s", Path("data/things/all"))], EmbedOptions(device="cpu"))
    command = ("--dataset", "s=data/things/all", "--task", "retrieval", "--format", "json")
    manifest = json.loads(evaluate("--embeddings", str(tmp_path / "one" / "s.npz"), *command))["manifest"]
    assert (manifest["model"], manifest["embedding"]["device"]) == ("run", "cpu")
    assert manifest["model_identity"] == model_identity("run")
    other = tmp_path / "two" / "manifest.json"
    changed = json.loads(other.read_text().replace(manifest["model_identity"]["model"], "0" * 64))
    other.write_text(json.dumps(with_digest(changed)))
    with pytest.raises(InputError, match="and of another model"):
        evaluate("--embeddings", f"{tmp_path}/one/s.npz", "--embeddings", f"{tmp_path}/two/s.npz", *command)


def test_prompts_may_be_in_a_file_of_their_own(evaluate, root, tmp_path):
    whole = arrays(N)
    prompts = {name: array for name, array in whole.items() if name.startswith("prompt/")}
    np.savez(tmp_path / "prompts.npz", **prompts)
    np.savez(tmp_path / "images.npz", **{name: array for name, array in whole.items() if name not in prompts})
    common = ("--dataset", "things", "--suite", "quality", "--format", "json")
    parts = json.loads(
        evaluate("--embeddings", f"{tmp_path}/images.npz", "--embeddings", f"{tmp_path}/prompts.npz", *common)
    )
    assert parts["metrics"] == json.loads(evaluate("--embeddings", "s.npz", *common))["metrics"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--dataset", "things"], "give one of them"),
    (["--dataset", "things", "--model", "run", "--embeddings", "s.npz"], "give one of them"),
    (["--dataset", "things", "--model", "run", "--model", "other"], r"write \{model\} into it"),
    (["--dataset", "things", "--dataset", "more", "--model", "run"], r"write \{dataset\} into it"),
    (["--dataset", "things", "--dataset", "more", "--embeddings", "s.npz"], "2 data sets share the embeddings"),
    (["--dataset", "things", "--dataset", "more", "--model", "run", "--name", "n"], "--dataset is given 2 times"),
    (["--dataset", "n=things", "--dataset", "n=more", "--embeddings", "s.npz"], "two data sets are named 'n'"),
    (["--dataset", "things", "--embeddings", "s.npz", "--task", "more=retrieval"], "no data set 'more' is evaluated"),
    (["--dataset", "things", "--embeddings", "s.npz", "--lexicon", "a", "--lexicon", "b"], "things has 2 lexicons"),
    (["--dataset", "things", "--embeddings", "s.npz", "--embed-option", "precision=bf16"], "--embed-option has no eff"),
    (["--dataset", "things", "--embeddings", "s.npz", "--prompts", "config/prompts"], "--prompts has no effect"),
    (["--dataset", "things", "--embeddings", "s.npz", "--cache", "here"], "--cache has no effect"),
    (["--dataset", "things", "--model", "run", "--train-embeddings", "s.npz"], "--train-embeddings has no effect"),
    (["--dataset", "things", "--model", "run", "--suites", "nowhere.yaml"], "no such file of suites"),
    (["--dataset", "things", "--model", "run", "--prompts", "nowhere"], "no folder with the prompts 'objects'"),
    (["--dataset", "thngs", "--embeddings", "s.npz"], "did you mean 'things'"),
    (["--dataset", "things", "--embeddings", "s.npz", "--suite", "biass"], "'things' has no suite 'biass'"),
    (["--dataset", "data", "--embeddings", "s.npz"], "it has no built-in suite"),
    (["--dataset", "things", "--model", "run", "--task", "zeroshot:{column: object, prompts: nope}"], "no such file"),
    (["--dataset", "things", "--embeddings", "s.npz", "--embeddings", "s.npz"], "another file has too"),
])  # fmt: skip
def test_what_cannot_be_evaluated_is_one_clear_error(evaluate, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate(*arguments)
    assert not (tmp_path / "s.json").exists()


def test_a_known_set_without_its_data_is_an_error(root, tmp_path, monkeypatch):
    suites = read_suites(root / "config" / "suites.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the data folder of 'things' is missing"):
        find_set("things", suites)


def test_data_folder_path_gives_its_suite_and_name(root, tmp_path):
    suites = read_suites(root / "config" / "suites.yaml")
    evaluated_set = find_set(str(root / "data" / "things" / "all"), suites)
    assert evaluated_set.name == "things" and set(evaluated_set.suites) == {"quality", "bias"}
    (tmp_path / "my-set" / "test").mkdir(parents=True)
    assert find_set(str(tmp_path / "my-set" / "test"), suites).name == "my_set_test"


def test_built_in_suites_name_existing_files_and_classes():
    for name, dataset in read_suites(SUITES).datasets.items():
        assert isinstance(dataset, DatasetSuites)
        for suite, tasks in dataset.suites.items():
            for task in tasks:
                for stem in task.prompt_stems():
                    assert len(read_prompts(Path("config/prompts") / f"{stem}.yaml").classes) > 1, (name, suite)
            distinct = [(task.root.kind, task.root.suffix, getattr(task.root, "shots", None)) for task in tasks]
            assert len(set(distinct)) == len(distinct), f"{name}, {suite}: two tasks measure one metric"


def test_image_sets_without_a_suite_are_the_listed_ones():
    from evenclip.data.fetch.registry import read_registry

    no_images_to_evaluate = {"karpathy_splits", "visual_genome", "conceptnet", "visualsem", "cc3m", "cc12m", "vqa_v2"}
    no_class_names_here = {"caltech101", "cub200"}
    names = set(read_suites(SUITES).datasets)
    missing = set(read_registry().datasets) - names - no_images_to_evaluate - no_class_names_here
    assert not missing


def test_a_table_says_insufficient_and_leaves_nothing_out():
    rows = [
        {"metric": "bias/s/ab_max", "group": "tolo (insufficient)", "value": None, "ci_low": None, "ci_high": None,
         "n": 7, "random": None, "people": True},
        {"metric": "zeroshot/s/acc1", "group": "", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 90,
         "random": 0.25, "people": False},
    ]  # fmt: skip
    document = {"manifest": {"model": "m", "options": {}, "inputs": {}}, "metrics": rows}
    text = formats.as_text([document])
    assert text.splitlines()[0] == "about people" and "insufficient" in text and "[0.4000, 0.6000]" in text
    assert len(text.splitlines()) == 7
    assert formats.as_text([document | {"metrics": rows[1:]}]).startswith("not about people")


def test_a_wrong_suite_file_names_the_key():
    with pytest.raises(InputError, match="did you mean 'suites'"):
        Suites.parse({"datasets": {"x": {"data": "x/all", "suite": {}}}}, "suites.yaml")


@pytest.fixture
def compared(evaluate, tmp_path):
    """Two models on two data sets: function that prints them in a format, and the files written."""
    command = [f"--{flag}={name}" for flag, names in (("model", ["run", "other"]), ("dataset", ["things", "more"]))
               for name in names]  # fmt: skip

    def run(style: str) -> str:
        return evaluate(*command, f"--format={style}", out=tmp_path / "{model}" / "{dataset}.json")

    return run


def test_models_and_data_sets_are_crossed_in_one_table(compared, tmp_path):
    text = compared("table")
    header = next(line for line in text.splitlines() if line.split()[:2] == ["metric", "group"])
    assert header.split()[2:] == ["run", "other"]
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")}
    assert files == {f"{model}/{dataset}.json" for model in ("run", "other") for dataset in ("things", "more")}
    value = json.loads((tmp_path / "other/more.json").read_text())["metrics"][0]
    line = next(line for line in text.splitlines() if line.split()[:1] == [value["metric"]])
    assert f"{value['value']:.4f} [{value['ci_low']:.4f}, {value['ci_high']:.4f}]" in line


def test_every_format_gives_the_values_that_were_written(compared, tmp_path):
    tidy = list(csv.DictReader(io.StringIO(compared("csv"))))
    wide = list(csv.DictReader(io.StringIO(compared("wide"))))
    documents = json.loads(compared("json"))
    written = {
        (model, row["metric"], row["group"]): row["value"]
        for model in ("run", "other")
        for path in sorted((tmp_path / model).glob("*.json"))
        for row in json.loads(path.read_text())["metrics"]
    }
    number = {"": None}
    assert {(r["model"], r["metric"], r["group"]): number.get(r["value"], r["value"] and float(r["value"]))
            for r in tidy} == written  # fmt: skip
    assert {(m, r["metric"], r["group"]): number.get(r[m], r[m] and float(r[m]))
            for r in wide for m in ("run", "other")} == written  # fmt: skip
    assert sum(len(document["metrics"]) for document in documents) == len(written)
    tokens = MarkdownIt("commonmark").enable("table").parse(compared("markdown"))
    assert sum(token.type == "tr_open" for token in tokens) == 1 + len(wide)


def test_names_cannot_break_the_formats():
    row = {"metric": "bias/a|b/rb", "group": 'g,"1"\n', "value": 0.5, "ci_low": None, "ci_high": None, "n": 3,
           "random": None, "people": True}  # fmt: skip
    document = {"manifest": {"model": "m|1", "options": {}, "inputs": {}}, "metrics": [row]}
    (read,) = csv.DictReader(io.StringIO(formats.as_tidy_csv([document])))
    assert (read["metric"], read["group"], read["model"]) == (row["metric"], row["group"], "m|1")
    tokens = MarkdownIt("commonmark").enable("table").parse(formats.as_markdown([document]))
    assert sum(token.type in ("th_open", "td_open") for token in tokens) == 6
