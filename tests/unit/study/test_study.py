"""Committed studies are valid; every malformed study is one clear message, before anything runs."""

import pytest

from evenclip.errors import InputError
from evenclip.study import study
from evenclip.study.study import load_study
from support.demo_study import LABEL, demo_values, demo_with
from support.project import ROOT

STUDIES = [ROOT / "config/config.yaml", *sorted((ROOT / "config/studies").glob("*.yaml"))]
SETS = demo_values()["evaluate"]["sets"]
RETRIEVAL = {"kind": "retrieval"}
WORLD = demo_values()["data"]["world"]
PHOTOS = {"source": "import", "root": "x"}
FILES = {"questions": "q.json", "annotations": "a.json", "data": "world/train"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_committed_studies_are_valid(path):
    study = load_study(path)
    assert study.runs and set(study.strategies()) <= set(study.config.balance)


def test_every_study_has_its_sheet_beside_it():
    for path in STUDIES[1:]:
        assert load_study(path).config.ablations == str(path.relative_to(ROOT).with_suffix(".tsv"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [0]}, "did you mean 'seeds'"),
        ({"label": LABEL | {"options": {"utility": ["similarity"]}}}, "similarity needs embeddings"),
        ({"label": LABEL | {"embedding": {"model": "m", "attributes": ["group"]}}}, "belong together"),
        ({"label": LABEL | {"embedding": {"model": "m", "attribute_data": "world/x"}}}, "unknown data 'world/x'"),
        ({"label": LABEL | {"embedding": {"model": "m"}}, "scatter": 2}, "need all pairs"),
        ({"label": LABEL | {"dataset": "wrold"}}, "unknown data 'wrold/train'"),
        ({"label": LABEL | {"lexicon": "config"}}, "is a folder, not a file 'config'"),
        ({"label": LABEL | {"lexicon": "a{x}.yaml"}}, "braces in the path"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, 0]}, "'seeds'.*0 occurs twice"),
        ({"seeds": [True]}, r"'seeds\.0': true is no int"),
        ({"seeds": [2**64]}, r"'seeds\.0'"),
        ({"seeds": [-1]}, r"'seeds\.0'"),
        ({"study": "my study"}, "study"),
        ({"study": "../up"}, "study"),
        ({"data": {"world": WORLD | {"splits": WORLD["splits"] | {"train": 10**30}}}}, "splits.train"),
        ({"data": {"world": WORLD | {"splits": WORLD["splits"] | {"../../x": 1}}}}, "splits"),
        ({"data": {"world": WORLD | {"splits": WORLD["splits"] | {"a b;c": 1}}}}, "splits"),
        ({"data": {"world": WORLD, "mine": PHOTOS | {"splits": ["{x}"]}}}, r"splits\.0"),
        ({"data": {"world": WORLD, "mine": PHOTOS | {"splits": ["a", "a"]}}}, "a occurs twice"),
        ({"data": {"world": WORLD, "mine": PHOTOS | {"root": ""}}}, r"mine\.import\.root|mine\.root"),
        ({"train": {"batch_size": 10**12}}, r"train\.batch_size"),
        ({"train": {"samples_seen": 10**40}}, r"train\.samples_seen"),
        ({"train": {"threads": 10**9}}, r"train\.threads"),
        ({"train": {"lr": float("inf")}}, r"train\.lr"),
        ({"train": {"lr": ".inf"}}, r"train\.lr"),
        ({"train": {"lr": True}}, r"'train\.lr': true is no float"),
        ({"train": {"model": "config/models/none.json"}}, "config/models/none.json"),
        ({"train": {"model": "/etc/passwd"}}, "no such file '/etc/passwd/"),
        ({"train": {"model": "pyproject.toml"}}, "no model 'pyproject.toml'"),
        ({"train": {"model": "config/models"}}, "no such file 'config/models/model.safetensors'"),
        ({"train": {"model": "workflow/schemas/config.schema.json"}}, "is not a model configuration"),
        ({"graph": {"sources": {"pairs": "data/world/nosuch"}}}, r"data/world/nosuch\): unknown data 'world/nosuch'"),
        ({"graph": {"sources": {"conceptnet": ""}}}, r"graph\.sources\.conceptnet"),
        ({"graph": {"sources": {}}}, r"graph\.sources"),
        ({"evaluate": {"sets": {}}}, r"evaluate\.sets"),
        ({"evaluate": {"sets": {"a": {"data": "world/people", "tasks": []}}}}, "nothing is measured"),
        ({"evaluate": {"sets": SETS | {"a": {"data": "world/people", "tasks": []}}}}, r"sets\.a: nothing is measured"),
        ({"evaluate": {"sets": {"a": {"data": "world/people", "tasks": [RETRIEVAL] * 2}}}}, "retrieval occurs twice"),
        ({"evaluate": {"sets": SETS | {"links": SETS["world_mixed"]}}}, "'links' is the name"),
        ({"vqa": {"world_mixed": {"train": FILES, "test": FILES}}}, "is also the name of an evaluation set"),
        ({"vqa": {"asked": {"train": FILES, "test": FILES | {"data": "world/nowhere"}}}}, "data 'world/nowhere'"),
        ({"ablations": "config"}, "config: cannot be read"),
        ({"ablations": "nosuch.tsv"}, "no such file"),
        ({"ablations": "x" * 5000}, "cannot be read"),
        ({"ablations": "a\0b"}, "NUL"),
        ({"track": {"tracking_uri": ""}}, r"track\.tracking_uri"),
        ({"processes": 7}, "cannot be shared equally by 7 processes"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_malformed_study_is_one_message(change, message):
    with pytest.raises(InputError, match=message) as error:
        demo_with(change)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("run\nx\n", "column 'strategy' is missing"),
        ("run\tstrategy\n", "no runs"),
        ("run\tstrategy\nx\tm4\nx\tnone\n", "same run name"),
        ("run\tstrategy\nx\tm5\n", "row 1: unknown strategy 'm5'"),
        ("run\tstrategy\tlr\nx\tm4\t1\n", "unknown column 'lr'"),
        ("run\tstrategy\ttrain.\nx\tm4\t1\n", r"unknown column 'train\.'"),
        ("run\tstrategy\ttrain.lrr\nx\tm4\t1\n", "did you mean 'lr'"),
        ("run\tstrategy\ttrain.lr\nx\tm4\t-1\n", "run x: 'lr'"),
        ("run\tstrategy\ttrain.lr\nx\tm4\tinf\n", "run x: 'lr'"),
        ("run\tstrategy\ttrain.lr\ttrain.lr\nx\tm4\t1\t2\n", r"column 'train\.lr' occurs twice"),
        ("run\tstrategy\ttrain.lr.x\nx\tm4\t1\n", r"unknown column 'train\.lr\.x'"),
        ("run\tstrategy\ttrain.knowledge\ttrain.knowledge.kd\nx\tm4\t3\t1\n", "are both given"),
        ("run\tstrategy\ttrain.knowledge.kd\ttrain.knowledge\nx\tm4\t1\t{e2e: 1}\n", "are both given"),
        ("run\tstrategy\ttrain.stages.first\nx\tm4\t[a]\n", r"stages\.first"),
        ("run\tstrategy\ttrain.simclip\nx\tm4\t{share: 1, share: 0.5}\n", "'share' is written twice"),
        (f"run\tstrategy\ttrain.batch_size\nx\tm4\t{'9' * 5000}\n", "run x: 'batch_size'"),
        (f"run\tstrategy\ttrain.model\nx\tm4\t{'[' * 3000}\n", "run x"),
        (f"run\tstrategy\ttrain.model\nx\tm4\t{'y' * 200_000}\n", "not a tab-separated table"),
        ("run\tstrategy\nX y\tm4\n", "cannot name a run"),
        ("run\tstrategy\n1x\tm4\n", "cannot name a run"),
        ("run\tstrategy\nreport\tm4\n", "cannot name a run"),
        ("run\tstrategy\nx\tm4\t1\n", "more cells than columns"),
        ("run\tstrategy\n\tm4\n", "cannot name a run"),
    ],
    ids=lambda text: text[:60],
)
def test_a_malformed_sheet_is_one_message(tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as error:
        demo_with(sheet=tmp_path / "sheet.tsv", rows=rows)
    assert len(str(error.value)) < 1000


def test_a_binary_sheet_is_one_message(tmp_path):
    (tmp_path / "sheet.tsv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is not text in UTF-8"):
        demo_with({"ablations": str(tmp_path / "sheet.tsv")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: a\nstudy: b\n", r"study\.yaml:2:1: not valid YAML \(the key 'study' is written twice"),
        ("train: {lr: 1, lr: 2}\n", "the key 'lr' is written twice"),
        ("study: demo\nx: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("n: " + "9" * 5000, "not valid YAML"),
        ("- a\n", "a mapping of blocks"),
        ("a: [1\nb: 2\n", r"study\.yaml:2"),
        ("", "a mapping of blocks"),
    ],
    ids=lambda text: text[:40],
)
def test_a_malformed_file_is_one_message(tmp_path, text, message):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_study(tmp_path / "study.yaml")
    assert len(str(error.value)) < 1000


def test_a_study_that_is_a_folder_is_one_message(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_study(tmp_path)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_takes_a_gpu_if_there_is_one_or_elsewhere(monkeypatch, tmp_path, has_gpu):
    monkeypatch.setattr(study, "Path", lambda _: tmp_path if has_gpu else tmp_path / "nothing")
    assert study.gpus("auto") == has_gpu
    assert study.gpus("auto", elsewhere=True) == 1
    assert [study.gpus(device, elsewhere) for device in ("cpu", "cuda") for elsewhere in (False, True)] == [0, 0, 1, 1]
