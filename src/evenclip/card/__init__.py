"""Bias cards: one page per model with its metrics, their uncertainty, the data sets, and what was not measured.

Reads `results/<study>/` as written by `evenclip summarize` and writes `card/<run>/card.{html,md,json}`, one card per
run over its seeds; or reads the files of `evenclip evaluate` of one model and writes one card. The manifest.json beside
a card says which study.json, or which evaluations, it was made from.
Commands: `evenclip card --results results/demo --out results/demo/card`, `evenclip card EVALUATION.json --out FOLDER`.
"""

from collections.abc import Mapping
from pathlib import Path

from evenclip.card.content import Card, card_of_evaluations, card_of_run
from evenclip.card.pages import as_html, as_json, as_markdown
from evenclip.provenance import Manifest, atomic_folder
from evenclip.results import StudyResults


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
    """Write one card ``out/card.{html,md,json}`` of one model's evaluations.

    Raises
    ------
    InputError
        A file is not an evaluation, or the evaluations are of different models or share a metric.
    """
    inputs = {f"evaluation {number}": path for number, path in enumerate(evaluations)}
    _write(card_of_evaluations(evaluations), inputs, out)


def _write(card: Card, inputs: Mapping[str, Path], out: Path) -> None:
    manifest = Manifest("card", {}, inputs)
    texts = {"html": as_html(card), "md": as_markdown(card), "json": as_json(card)}
    with atomic_folder(out) as folder:
        for name, text in texts.items():
            (folder / f"card.{name}").write_text(text, encoding="utf-8")
        manifest.write(folder / "manifest.json")
