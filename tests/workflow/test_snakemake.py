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
