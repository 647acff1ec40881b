"""What reruns: a touched or commented file nothing, a changed key its readers and all below, edited code its stage."""

import os
import re
import resource
import shutil
import sys

import pytest

pytestmark = pytest.mark.workflow

GATHER = {"summarize": 1, "card": 1, "report": 1, "track": 1}
FROM_EVALUATE = {"evaluate": 2, **GATHER}
FROM_EMBED = {"embed": 2, **FROM_EVALUATE}
FROM_TRAIN = {"train": 2, "vqa": 2, **FROM_EMBED}
# one of the two runs only
ONE_RUN = {"train": 1, "embed": 1, "evaluate": 1, "vqa": 1, **GATHER}


def test_finished_study_has_nothing_to_do(finished):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert finished.planned() == {}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 10  # seconds of processor time, which others on the machine do not lengthen


def test_touched_files_rerun_nothing(project):
    for folder in ("src", "config", "workflow", "data"):
        for path in (project.folder / folder).rglob("*"):
            os.utime(path)
    for path in (project.folder / "results").rglob("*.parquet"):
        os.utime(path)
    assert project.planned() == {}


READS = """
import hashlib, sys
from snakemake.cli import main
digest = hashlib.file_digest
def counted(file, algorithm):
    print("read", file.name, flush=True)
    return digest(file, algorithm)
hashlib.file_digest = counted
main(sys.argv[1:])
"""


def test_an_input_is_hashed_once_for_all_outputs_of_a_job(project):
    shutil.rmtree(project.folder / "results/smoke/balance/none")
    command = project.command("results/smoke/balance/none/weights.parquet")
    done = project.run(sys.executable, "-c", READS, *command[1:])
    reads = re.findall(r"^read (\S+)$", done.stdout, re.MULTILINE)
    assert reads.count("results/smoke/label/world.parquet") == 1, reads  # the job has three outputs


@pytest.mark.parametrize("module", ["tables.py", "provenance.py", "train/trainer.py", "balance/solvers/exact.py"])
def test_a_comment_in_the_package_reruns_nothing(project, module):
    path = project.folder / "src/evenclip" / module
    path.write_text("# a remark\n" + path.read_text() + "\n# another\n")
    assert project.planned() == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seeds: [0]", "seeds: [0, 1]", FROM_TRAIN),
        ("batch_size: 100", "batch_size: 200", FROM_TRAIN),
        ("m4: {strategy: m4}", "m4: {strategy: m4, eps_rel: 0.1}", {"balance": 1, **ONE_RUN}),
        ("{kind: retrieval}", "{kind: retrieval}\n        - {kind: compositional}", {"evaluate": 2, **GATHER}),
        ("objects: 72", "objects: 36", {"data": 1, **FROM_EMBED}),
    ],
    ids=["seeds", "train", "balance", "evaluate", "data"],
)
def test_a_changed_key_reruns_its_readers_and_below(project, old, new, expected):
    project.edit("tests/workflow/smoke.yaml", old, new)
    assert project.planned() == expected


def test_a_changed_row_of_the_ablation_sheet_reruns_its_run(project):
    project.edit("tests/workflow/smoke.tsv", "1e-3", "2e-3")
    assert project.planned() == ONE_RUN


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("label", {"label": 1, "balance": 2, **FROM_TRAIN}),
        ("balance", {"balance": 2, **FROM_TRAIN}),
        ("graph", {"graph": 1, **ONE_RUN}),
        ("train", FROM_TRAIN),
        ("embed", FROM_EMBED),
        ("evaluate", {"vqa": 2, **FROM_EVALUATE}),  # answers are measured with evaluate's bootstrap
        ("summarize", GATHER),
        ("card", {"card": 1, "track": 1}),
        ("report", {"report": 1, "card": 1, "track": 1}),  # a card begins with the report's sentence
        ("track", {"track": 1}),
    ],
)
def test_edited_code_reruns_its_stage_and_below(project, package, expected):
    path = project.folder / "src/evenclip" / package / "__init__.py"
    path.write_text(path.read_text() + "\nEDITED = True\n")
    assert project.planned() == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("train/m4/seed0/model.safetensors", ONE_RUN),
        ("balance/m4/weights.parquet", {"balance": 1, **ONE_RUN}),
        ("evaluate/none/seed0/world_mixed.json", {"evaluate": 1, **GATHER}),
        ("track.json", {"track": 1}),
    ],
)
def test_a_deleted_output_reruns_its_job_and_below(project, output, expected):
    (project.folder / "results/smoke" / output).unlink()
    assert project.planned() == expected


def test_an_edited_claim_reruns_the_summary_and_below(project):
    project.edit("config/claims.yaml", "margin: 0.02", "margin: 0.03")
    assert project.planned() == GATHER


def test_edited_prompts_rerun_embedding_and_below(project):
    project.edit("config/prompts/world_groups.yaml", "templates:", "templates:\n- a scene with a {}.")
    assert project.planned() == FROM_EMBED


def test_deterministic_stages_come_out_equal(project, finished):
    shutil.rmtree(project.folder / "results")
    project.snakemake("--until", "balance")
    for path in ("label/world.parquet", "balance/m4/weights.parquet"):
        assert (project.folder / "results/smoke" / path).read_bytes() == (
            finished.folder / "results/smoke" / path
        ).read_bytes()
