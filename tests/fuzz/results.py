"""Fuzz the readers of results folders: report and cards. `python tests/fuzz/results.py --seconds 300`.

Of a study with one damaged file, or one file less, the numbers that report and cards show are those of the whole study,
or an `InputError` says what is wrong. What is drawn is left out: it shows the same numbers, slowly.
"""

import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from evenclip.card import write_evaluation_card, write_study_cards
from evenclip.errors import InputError
from evenclip.results import StudyResults
from evenclip.summarize import summarize_study
from support.example_study import write_example_study
from support.fuzzing import damaged, main


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp()) / "whole"
    root.mkdir()
    write_example_study(root)
    return root


def _shown(results: Path, out: Path) -> list:
    """Everything that the report reads of a study, and the cards."""
    study = StudyResults(results)
    values: list = [
        study.summary.to_csv(),
        study.tests.to_csv(),
        study.claims,
        study.strategies,
        study.labels,
        study.runs,
    ]
    for run in study.runs:
        for seed in run.seeds:
            values += [
                study.training(run.name, seed),
                study.history(run.name, seed).to_csv(),
                study.metrics(run.name, seed),
            ]
        weights = study.weights(run.strategy)
        values += [weights.read_bytes(), study.balanced_labels(run.strategy).read_bytes()]
    write_study_cards(results, out)
    values += [path.read_bytes() for path in sorted(out.rglob("card.*"))]
    return values


@cache
def _whole() -> list:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        shutil.copytree(_root(), root)
        return _inside(root, lambda: _shown(Path("results/demo"), root / "card"))


def _inside(root: Path, run) -> list:
    before = os.getcwd()
    os.chdir(root)
    try:
        return run()
    finally:
        os.chdir(before)


def _damage(data: st.DataObject, root: Path, suffixes: tuple[str, ...] = ("",)) -> Path:
    files = sorted(path for path in (root / "results").rglob("*") if path.is_file() and path.name.endswith(suffixes))
    path = data.draw(st.sampled_from(files))
    if data.draw(st.integers(0, 9)) == 0:
        path.unlink()
    else:
        path.write_bytes(damaged(data, path.read_bytes()))
    return path


def damaged_studies_are_refused_or_show_the_same(data: st.DataObject) -> str:
    whole = _whole()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        shutil.copytree(_root(), root)
        path = _damage(data, root)
        try:
            pages = _inside(root, lambda: _shown(Path("results/demo"), root / "card"))
        except InputError:
            return "refused"
    assert pages == whole, path
    return "equal"


def damaged_evaluations_never_end_in_a_traceback(data: st.DataObject) -> str:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        shutil.copytree(_root(), root)
        path = sorted((root / "results/demo/evaluate").rglob("*.json"))[data.draw(st.integers(0, 3))]
        path.write_bytes(damaged(data, path.read_bytes()))
        try:
            write_evaluation_card([path], root / "card")
        except InputError:
            return "refused"
    return "equal"


def damaged_inputs_of_a_summary_are_refused_or_give_the_same(data: st.DataObject) -> str:
    whole = _whole()[:3]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        shutil.copytree(_root(), root)
        path = _damage(data, root, (".json", ".parquet"))
        try:
            runs = ["none", "random_subsample", "m4"]
            _inside(root, lambda: summarize_study(Path("results/demo"), runs, [0, 1]))
            study = StudyResults(root / "results/demo")
            tables = [study.summary.to_csv(), study.tests.to_csv()]
        except InputError:
            return "refused"
    assert tables == whole[:2], path
    return "equal"


PROPERTIES = [
    damaged_studies_are_refused_or_show_the_same, damaged_evaluations_never_end_in_a_traceback,
    damaged_inputs_of_a_summary_are_refused_or_give_the_same,
]  # fmt: skip

if __name__ == "__main__":
    main(PROPERTIES)
