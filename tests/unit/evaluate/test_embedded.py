"""The evaluation as a whole: tasks as arguments, the file it writes, and how fast it starts."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter

from evenclip.errors import InputError
from evenclip.evaluate import EvaluateOptions, Task, evaluate_set
from evenclip.evaluate.measurement import Measurement
from evenclip.evaluate.metrics.compositional import Compositional
from evenclip.evaluate.metrics.parity import Parity
from evenclip.evaluate.metrics.recognition import Recognition
from evenclip.evaluate.metrics.representation import Representation
from evenclip.evaluate.options import KINDS
from evenclip.options import Options
from support.evaluate_example import arrays, make_set, measure, truth_rows, write_data

LIGHT = [
    "zeroshot:{column: object, prompts: objects}",
    "retrieval",
    "representation:{prompts: groups}",
    "association:{prompts: objects, column: group, values: [ravi, tolo]}",
    "recognition:{column: group, prompts: groups}",
    "compositional",
    "parity:{prompts: groups, values: [ravi, tolo], column: object}",
    "pairwise:{prompts: objects, column: group, values: [ravi, tolo], pairs: [[object0, object1]]}",
    "skew:{prompts: objects, column: group, targets: {ravi: 0.5, tolo: 0.5}}",
    "bias_at_k:{prompts: objects, column: group, values: [ravi, tolo], k: 20}",
    "retrieval_entropy:{prompts: objects, column: [group, probe], k: 20}",
    "harm:{prompts: objects, column: group, harmful: {crime: [object0]}}",
]
ALL = [
    *LIGHT,
    "fairness:{prompts: objects, target: object, column: group}",
    "linear_probe:{column: group}",
    "linear_probe:{column: group, shots: 3}",
]
N = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    write_data(root / "data", truth_rows(N))
    np.savez(root / "s.npz", **arrays(N))
    return root


def evaluate(folder, out, tasks=ALL, name="s", seed=0, **options):
    tasks = [Task.from_argument(argument) for argument in tasks]
    evaluate_set(folder / "data", [folder / "s.npz"], name, tasks, out, seed, EvaluateOptions(resamples=100, **options))
    return json.loads(out.read_text())


@pytest.mark.parametrize("argument", ALL)
def test_a_task_survives_its_argument(argument):
    task = Task.from_argument(argument)
    assert Task.from_argument(task.to_argument()) == task
    assert task.root.kind == argument.partition(":")[0]


def test_a_study_file_reads_the_same_tasks():
    values = {"kind": "zeroshot", "column": "object", "prompts": "objects"}
    (task,) = TypeAdapter(list[Task]).validate_python([values])
    assert task == Task.from_argument(ALL[0])
    assert task.prompt_stems() == ["objects"] and Task.from_argument("retrieval").prompt_stems() == []


def kinds(base: type) -> list[type]:
    """All kinds of task that are measured, at any depth below ``base``."""
    below = [kind for child in base.__subclasses__() for kind in [child, *kinds(child)]]
    return [kind for kind in below if "kind" in kind.model_fields]


def test_every_kind_has_a_name_a_measurement_and_a_test_here():
    assert set(KINDS.values()) == set(kinds(Measurement))
    assert {argument.partition(":")[0] for argument in ALL} == set(KINDS)
    assert all(kind.model_fields["kind"].default == name for name, kind in KINDS.items())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("zeroshoot:{column: a, prompts: b}", "did you mean 'zeroshot'"),
        ("zzz", "the kinds are association, bias_at_k"),
        ("zeroshot:{colum: a, prompts: b}", "did you mean 'column'"),
        ("zeroshot:{column: a}", "'prompts': Field required"),
        ("zeroshot:{column: a", "not a YAML mapping"),
        ("zeroshot:column", "not a YAML mapping"),
        ("representation:{prompts: a, targets: {x: 0.5, y: 0.4}}", "sum to 0.9, not to 1"),
        ("association:{prompts: a, column: b, values: [c]}", "values"),
    ],
)
def test_wrong_tasks(argument, message):
    with pytest.raises(InputError, match=message):
        Task.from_argument(argument)


def test_a_wrong_key_in_a_study_file_is_an_error():
    class Block(Options):
        tasks: list[Task]

    with pytest.raises(InputError, match="unknown key 'tasks.0.zeroshot.colum'"):
        Block.parse({"tasks": [{"kind": "zeroshot", "colum": "a", "prompts": "b"}]}, "study.yaml")


def test_the_file_has_manifest_and_metrics(folder, tmp_path):
    document = evaluate(folder, tmp_path / "a" / "s.json")
    manifest, rows = document["manifest"], document["metrics"]
    assert manifest["stage"] == "evaluate" and manifest["n"] == N and manifest["n_without_embedding"] == 0
    assert set(manifest["inputs"]) == {"dataset", "embeddings"}
    assert manifest["options"]["resamples"] == 100 and manifest["options"]["tasks"][0]["kind"] == "zeroshot"
    assert {row["metric"] for row in rows if not row["people"]} == {
        *(f"zeroshot/s/{m}" for m in ("acc1", "acc5", "mean_per_class_recall", "true_class_probability")),
        *(f"retrieval/s/{way}_recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)),
        *(f"compositional/s/{m}" for m in ("color", "size")),
        *(f"linear_probe/s/{m}" for m in ("acc1", "mean_per_class_recall")),
        "few_shot/s/acc1_at_3",
    }
    for row in rows:
        assert set(row) == {"metric", "value", "ci_low", "ci_high", "n", "group", "random", "people"}
        if row["ci_low"] is not None:
            assert row["ci_low"] <= row["value"] <= row["ci_high"] and row["n"] > 0
        assert row["value"] is None or row["random"] is not None or row["metric"].endswith("_prompt_range")


def test_metrics_and_definitions_match_one_to_one(folder, tmp_path):
    rows = evaluate(folder, tmp_path / "s.json", minimum_group=2)["metrics"]
    defined = [definition for kind in KINDS.values() for definition in kind.metrics]
    assert all(
        definition.meaning and definition.formula and definition.interval and definition.random and definition.source
        for definition in defined
    )
    patterns = {
        definition.name: re.compile(
            re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(definition.name)) + r"(_prompt_(mean|range))?"
        )
        for definition in defined
    }
    assert len(patterns) == len(defined)
    measured = {row["metric"].replace("/s/", "/") for row in rows}
    for metric in measured:
        assert any(pattern.fullmatch(metric) for pattern in patterns.values()), metric
    del patterns["bias/ab_per_skill"]  # of two sets at once: `evenclip summarize` computes it
    for name, pattern in patterns.items():
        assert any(pattern.fullmatch(metric) for metric in measured), name


def test_a_suffix_tells_two_tasks_of_one_kind_apart(folder, tmp_path):
    tasks = ["representation:{prompts: groups}", "representation:{prompts: objects, suffix: of_objects, people: false}"]
    rows = evaluate(folder, tmp_path / "s.json", tasks=tasks, prompt_sensitivity=False)["metrics"]
    assert {(row["metric"], row["people"]) for row in rows} == {
        ("bias/s/rb", True), ("bias/s/rb_signed", True), ("bias/s/rb_hard", True),
        ("bias/s_of_objects/rb", False), ("bias/s_of_objects/rb_hard", False),
    }  # fmt: skip


def test_equal_seeds_give_equal_metrics_whatever_the_other_tasks(folder, tmp_path):
    whole = evaluate(folder, tmp_path / "1.json")["metrics"]
    assert evaluate(folder, tmp_path / "2.json")["metrics"] == whole
    alone = evaluate(folder, tmp_path / "3.json", tasks=[ALL[3]])["metrics"]
    assert alone == [row for row in whole if row["metric"].startswith("bias/s/ab")]
    assert evaluate(folder, tmp_path / "4.json", seed=1)["metrics"] != whole


def test_two_tasks_with_one_metric_write_nothing(folder, tmp_path):
    with pytest.raises(InputError, match="two tasks measure bias/s/rb"):
        evaluate(
            folder, tmp_path / "s.json", tasks=["representation:{prompts: groups}", "representation:{prompts: objects}"]
        )
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_slash_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="cannot name a set"):
        evaluate(folder, tmp_path / "s.json", name="a/b")


def test_small_groups_are_null_in_the_file(folder, tmp_path):
    rows = evaluate(folder, tmp_path / "s.json", tasks=[ALL[3]], minimum_group=61)["metrics"]
    assert {(row["group"], row["value"], row["n"]) for row in rows} == {
        ("ravi (insufficient)", None, 60),
        ("tolo (insufficient)", None, 60),
    }


def test_an_evaluation_loads_nothing_heavy(folder, tmp_path):
    code = f"""
import sys
from pathlib import Path
from evenclip.evaluate import EvaluateOptions, Task, evaluate_set
root, out = Path({str(folder)!r}), Path({str(tmp_path / "s.json")!r})
tasks = [Task.from_argument(argument) for argument in {LIGHT!r}]
evaluate_set(root / "data", [root / "s.npz"], "s", tasks, out, 0, EvaluateOptions(resamples=100))
print(*(module for module in ("torch", "pandas", "sklearn", "scipy.stats") if module in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [] and (tmp_path / "s.json").is_file()


@pytest.mark.parametrize(("task", "metric"), [
    (Representation(prompts="p"), "rb"), (Parity(prompts="p", values=["a", "b"]), "mean_parity"),
    (Recognition(prompts="p", column="y"), "acc1"), (Compositional(), "color"),
])  # fmt: skip
def test_few_images_give_no_number_over_all_of_them(task, metric):
    rng = np.random.default_rng(5)
    truth = {"probe": ["color"] * 20, "y": ["a", "b"] * 10}
    prompts = {"p": {"a": rng.normal(size=6), "b": rng.normal(size=6)}}
    image, text, foil = rng.normal(size=(3, 20, 6))
    data = make_set(image, truth=truth, prompts=prompts, text=text, text_image=np.arange(20), foil=foil)
    assert measure(task, data, minimum_group=20 if metric != "acc1" else 10)[metric, ""].value is not None
    row = measure(task, data, minimum_group=21)[metric, "all images (insufficient)"]
    assert row.value is None and row.n == 20
