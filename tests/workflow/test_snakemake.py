"""The workflow is clean, reports offline, and says in one message what is wrong with a study file."""

import pytest

pytestmark = pytest.mark.workflow


def test_lint_is_clean(finished):
    assert "Congratulations, your workflow is in a good condition!" in finished.snakemake("--lint").stdout


def test_snakemake_report_is_written_offline(finished, tmp_path):
    finished.snakemake("--report", str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("batch_size: 100", "batchsize: 100", ["unknown key 'train.batchsize'", "did you mean 'batch_size'?"]),
        ("column: group", "column: group, colour: 1", ["unknown key", "colour"]),
        ("data: world/mixed", "data: world/mixt", ["unknown data 'world/mixt'", "world/mixed"]),
        ("lexicons/world.yaml", "lexicons/nosuch.yaml", ["no such file", "label.lexicon"]),
        ("samples_seen: 800", "samples_seen: many", ["train.samples_seen"]),
        ("strategy: m4}", "strategy: m5}", ["balance.m4.strategy"]),
    ],
)
def test_a_wrong_study_file_is_one_message(project, old, new, messages):
    project.edit("tests/workflow/smoke.yaml", old, new)
    done = project.snakemake("--dry-run", check=False)
    assert done.returncode == 2
    assert all(message in done.stdout for message in messages), done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        ("tests/workflow/smoke.yaml", "seeds: [0]", "seeds: [0]\nseeds: [1]", "the key 'seeds' is written twice"),
        (
            "tests/workflow/smoke.yaml",
            "seeds: [0]",
            "seeds: [0]\ntrain: {lr: 1, lr: 2}",
            "the key 'lr' is written twice",
        ),
        ("tests/workflow/smoke.yaml", "smoke.tsv", "", "ablations"),
        ("tests/workflow/smoke.tsv", "train.lr", "train.lr.x", "unknown column 'train.lr.x'"),
    ],
)
def test_a_malformed_study_is_one_message(project, path, old, new, message):
    project.edit(path, old, new)
    done = project.snakemake("--dry-run", check=False)
    assert done.returncode == 2 and message in done.stdout and "Traceback" not in done.stdout, done.stdout


def test_names_are_never_run_as_code(finished):
    assert list(finished.folder.rglob("pwned")) == [] and not (finished.folder.parent / "pwned").exists()


def test_a_lexicons_name_is_not_run_as_code(project):
    name = """config/lexicons/it's $(touch pwned).yaml"""
    (project.folder / "config/lexicons/world.yaml").rename(project.folder / name)
    project.edit("tests/workflow/smoke.yaml", "config/lexicons/world.yaml", f'"{name}"')
    project.snakemake("results/smoke/label/world.parquet")
    assert (project.folder / "results/smoke/label/world.json").exists()
    assert list(project.folder.rglob("pwned")) == []


def test_braces_in_the_folders_name_are_one_message(project):
    moved = type(project)(project.folder.rename(project.folder.with_name("a {folder}")))
    done = moved.snakemake("--dry-run", check=False)
    assert done.returncode == 2 and "braces in the name" in done.stdout, done.stdout
