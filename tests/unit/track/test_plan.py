"""What MLflow shall hold: names that it accepts, one for each metric and group."""

import json
import posixpath
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from evenclip.digests import with_digest
from evenclip.provenance import write_json
from evenclip.results import StudyResults
from evenclip.summarize import summarize_study
from evenclip.track.plan import metric_names, plan_study
from support.example_study import SEEDS, STRATEGIES

GROUPS = st.one_of(st.text(max_size=300), st.text("ab/.<>&#+, ", max_size=8))
CELLS = st.sets(st.tuples(st.sampled_from(["bias/s/ab", "bias/s/ab/a", "recognition/s/acc1"]), GROUPS), max_size=12)


@given(CELLS)
def test_metric_names_are_allowed_and_one_to_one(cells: set[tuple[str, str]]):
    names = list(metric_names(cells).values())
    assert len(names) == len(cells) == len({name.casefold() for name in names})
    for name in names:
        assert re.fullmatch(r"[\w./: -]{1,250}", name) and posixpath.normpath(name) == name


def test_groups_that_differ_in_signs_only_are_told_apart(study_folder: Path):
    for path in study_folder.glob("evaluate/*/*/people.json"):
        document = json.loads(path.read_text())
        row = next(row for row in document["metrics"] if row["group"] == "lorker")
        document["metrics"].remove(row)
        document["metrics"] += [row | {"group": group, "value": value} for group, value in (("<40", 0.6), (">40", 0.9))]
        write_json(with_digest(document), path)
    summarize_study(study_folder, list(STRATEGIES), list(SEEDS))
    planned = {
        run.key: {point.name: point.value for point in run.metrics} for run in plan_study(StudyResults(study_folder))
    }
    for key in ("m4", "m4/seed0"):
        values = [value for name, value in planned[key].items() if re.fullmatch(r"bias/people/ab/_40-\w{12}", name)]
        assert sorted(values) == [0.6, 0.9]
    assert set(planned["m4"]) & set(planned["none"]) >= {name for name in planned["m4"] if "/ab/" in name}


def test_runs_have_filter_params_and_no_intervals_as_metrics(study_folder: Path):
    planned = {run.key: run for run in plan_study(StudyResults(study_folder))}
    parent, child = planned["m4"], planned["m4/seed1"]
    assert child.name == "m4 · seed 1" and child.parent == "m4"
    assert child.params | {"seed": "1"} == child.params and set(parent.params) == set(child.params) - {"seed"}
    wanted = {"strategy": "m4", "train.lr": "0.001", "train.batch_size": "64", "method.simclip": "false"}
    assert wanted.items() <= parent.params.items()
    assert not any("ci_low" in point.name for run in planned.values() for point in run.metrics)
    lines = parent.artifacts["intervals.csv"].decode().splitlines()
    assert lines[0] == "metric,group,mean,ci_low,ci_high,n_seeds"
    assert any(line.startswith("bias/people/ab_max,,") for line in lines)


def test_the_note_of_a_run_names_its_file_of_intervals(study_folder: Path):
    parent = next(run for run in plan_study(StudyResults(study_folder)) if run.key == "m4")
    note = parent.tags["mlflow.note.content"]
    assert "`intervals.csv`" in note and "intervals.csv" in parent.artifacts and "{" not in note
