"""The terminal shows one line for each finished step, how to go on, and errors in full with their log."""

import re

import pytest

pytestmark = pytest.mark.workflow


def test_a_run_prints_few_lines_and_ends_with_its_result(finished):
    lines = finished.first_output.splitlines()
    steps = [line for line in lines if re.match(r"\[\d+/\d+\] \w+", line)]
    assert len(lines) < 60 and len(steps) > 10, finished.first_output
    assert any(re.fullmatch(r"\[\d+/\d+\] train m4 0: (\d+ min )?\d+ s", step) for step in steps)
    result, report, card, mlflow, following = lines[-5:]
    assert result.startswith("result  ") and "association bias on world_people" in result and "m4" in result
    assert report == "report  results/smoke/report.html" and (finished.folder / "results/smoke/report.html").exists()
    assert card == "card    results/smoke/card/m4/card.html" and (finished.folder / "results/smoke/card/m4").exists()
    assert "mlflow ui" in mlflow and "--configfile tests/workflow/smoke.yaml" in following


def test_a_failed_step_shows_its_log_and_what_is_kept(project):
    project.edit("config/lexicons/world.yaml", "sensitive:", "sensitve:")
    done = project.snakemake("results/smoke/label/world.parquet", check=False)
    assert done.returncode != 0
    assert "unknown key 'sensitve'" in done.stdout and "logs/smoke/label.log" in done.stdout
    assert "What is finished is kept" in done.stdout and "Traceback" not in done.stdout
