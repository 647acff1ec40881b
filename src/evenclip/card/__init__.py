"""Bias cards: one page per model with its metrics, their uncertainty, the data sets, and what was not measured.

Reads `results/<study>/` as written by `evenclip summarize` and writes `card/<run>/card.{html,md,json}`, one card per
run over its seeds; or reads the files of `evenclip evaluate` and writes the card of their model, or of several models
the card of each and a comparison. The manifest.json beside
a card says which study.json, or which evaluations, it was made from.
Commands: `evenclip card --results results/demo --out results/demo/card`, `evenclip card EVALUATION.json --out FOLDER`.
"""

from collections.abc import Mapping
from pathlib import Path

from evenclip.card import comparison
from evenclip.card.content import Card, card_of_evaluations, card_of_run
from evenclip.card.pages import as_html, as_json, as_markdown
from evenclip.documents import Evaluation
from evenclip.evaluate import formats
from evenclip.provenance import Manifest, atomic_folder
from evenclip.results import StudyResults
from evenclip.stage_outputs import read_document


def write_study_cards(results: Path, out: Path) -> None:
    """Write a card for every run of a study: ``out/<run>/card.{html,md,json}``.

    Raises
    ------
    InputError
        A file of the study is missing or unreadable.
    """
    study = StudyResults(results)
    cards = {run.name: card_of_run(study, run) for run in study.runs}
    for name, card in cards.items():
        _write(card, {"study": results / "study.json"}, out / name)


def write_evaluation_card(evaluations: list[Path], out: Path) -> None:
    """Write the card of one model's evaluations, ``out/card.{html,md,json}``; or compare several models.

    A comparison is ``out/comparison.{html,md,json}``, with ``values.csv`` (a row for each model, metric and group) and
    ``wide.csv`` (a column for each model), and the card of each model in a folder of its own.

    Raises
    ------
    InputError
        A file is not an evaluation, or two of one model share a metric or were embedded in different precisions.
    """
    documents = {path: read_document(path, Evaluation) for path in evaluations}
    models = comparison.by_model(documents)
    if len(models) < 2:
        return _write(card_of_evaluations(evaluations), _numbered(evaluations), out)
    compared = comparison.Comparison({name: card_of_evaluations(paths) for name, paths in models.items()})
    folders = comparison.folder_names(compared)
    texts = {"html": comparison.as_html, "md": comparison.as_markdown, "json": comparison.as_json}
    with atomic_folder(out) as folder:
        for kind, written in texts.items():
            (folder / f"comparison.{kind}").write_text(written(compared), encoding="utf-8")
        (folder / "values.csv").write_text(formats.as_tidy_csv(list(documents.values())), encoding="utf-8")
        (folder / "wide.csv").write_text(formats.as_wide_csv(list(documents.values())), encoding="utf-8")
        for name, card in compared.cards.items():
            _write(card, _numbered(models[name]), folder / folders[name])
        Manifest("card", {}, _numbered(evaluations)).write(folder / "manifest.json")


def _numbered(evaluations: list[Path]) -> dict[str, Path]:
    return {f"evaluation {number}": path for number, path in enumerate(evaluations)}


def _write(card: Card, inputs: Mapping[str, Path], out: Path) -> None:
    manifest = Manifest("card", {}, inputs)
    texts = {"html": as_html(card), "md": as_markdown(card), "json": as_json(card)}
    with atomic_folder(out) as folder:
        for name, text in texts.items():
            (folder / f"card.{name}").write_text(text, encoding="utf-8")
        manifest.write(folder / "manifest.json")
