"""Comparison card: several models beside each other, from their files of `evenclip evaluate`.

Every number is that of the model's own card. Intervals are of each model alone, over the examples.
"""

import json
import re
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evenclip.card.content import Card, Measured, capital, in_words
from evenclip.digests import fingerprint
from evenclip.errors import InputError
from evenclip.evaluate.evaluated_model import EvaluatedModel
from evenclip.pages import render
from evenclip.report import key_metrics
from evenclip.report.key_metrics import better
from evenclip.unique_names import one_to_one


@dataclass(frozen=True)
class Comparison:
    """Cards of several models, by the name under which each is shown."""

    cards: dict[str, Card]

    @property
    def metrics(self) -> dict[str, list[Measured | None]]:
        """Each metric and its row on every model's card; None where a model has none."""
        rows = [{row.metric: row for row in card.measured} for card in self.cards.values()]
        return {metric: [of_model.get(metric) for of_model in rows] for of in rows for metric in of}

    @property
    def shared(self) -> dict[str, list[Measured]]:
        """Metrics that all models have."""
        return {metric: rows for metric, rows in self.metrics.items() if None not in rows}

    @property
    def key(self) -> dict[str, list[Measured]]:
        """The most important of the shared metrics."""
        people = [metric for metric, rows in self.shared.items() if rows[0].people]
        return {metric: self.shared[metric] for metric in key_metrics.key_metrics(self.shared, people, self._bias)}

    @property
    def _bias(self) -> str | None:
        excess = {m: statistics.mean(r.value - (r.random or 0) for r in rows) for m, rows in self.shared.items()}
        return key_metrics.largest_bias(excess)

    @property
    def sentence(self) -> str:
        """Which model has least and most bias, and what these know of labels."""
        if self._bias is None:
            return "The models share no measure of bias of people, so their bias is not compared."
        rows = dict(zip(self.cards, self.shared[self._bias], strict=True))
        low, high = (extreme(rows, key=lambda name: rows[name].value) for extreme in (min, max))
        overlap = None not in (rows[low].ci_high, rows[high].ci_low) and rows[high].ci_low <= rows[low].ci_high
        chance = ". These intervals overlap: the order may be chance" * overlap
        text = f"{capital(rows[low].name)} is lowest for {low}, {in_words(rows[low])}, and highest for {high}, "
        text += f"{in_words(rows[high])}{chance}."
        people = [metric for metric, shared in self.shared.items() if shared[0].people]
        accuracy = key_metrics.label_accuracy(self.shared, people, self._bias)
        if accuracy is None:
            return f"{text} Label accuracy was not measured for all."
        known = dict(zip(self.cards, self.shared[accuracy], strict=True))
        both = f"{in_words(known[low])} for {low} and {in_words(known[high])} for {high}"
        return f"{text} {capital(known[low].name)} is {both}."

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all cards."""
        return fingerprint([card.fingerprint for card in self.cards.values()])


def by_model(documents: Mapping[Path, Mapping[str, Any]]) -> dict[str, list[Path]]:
    """Evaluations by the name of their model.

    Raises
    ------
    InputError
        Two models with other weights have one name.
    """
    groups: list[tuple[EvaluatedModel, list[Path]]] = []
    for path, document in documents.items():
        model = EvaluatedModel.of(document["manifest"])
        for first, paths in groups:
            if not model.is_other_than(first):
                paths.append(path)
                break
            if model.name == first.name:
                what = f"is of '{model.name}' with other weights than {paths[0]}"
                raise InputError(what, str(path), "evaluate both with one model, or give the models other names")
        else:
            groups.append((model, [path]))
    titles = [model.title for model, _ in groups]
    names = _shortened([model.name if titles.count(model.title) > 1 else model.title for model, _ in groups])
    return {name: paths for name, (_, paths) in zip(names, groups, strict=True)}


def _shortened(names: list[str]) -> list[str]:
    """Names without the leading and trailing parts of their paths that all share.

    >>> _shortened(["runs/none/seed0", "runs/m4/seed0"]), _shortened(["ViT-B-32:openai", "runs/m4"])
    (['none', 'm4'], ['ViT-B-32:openai', 'runs/m4'])
    """
    parts = [name.split("/") for name in names]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({of_name[0] for of_name in parts}) == 1:
        parts = [of_name[1:] for of_name in parts]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({of_name[-1] for of_name in parts}) == 1:
        parts = [of_name[:-1] for of_name in parts]
    return ["/".join(of_name) for of_name in parts]


def folder_names(comparison: Comparison) -> dict[str, str]:
    """Folder of each model's own card, by its name."""
    names = one_to_one([(name,) for name in comparison.cards], lambda key: re.sub(r"[^\w.-]+", "_", key[0]), 100)
    return {key[0]: folder for key, folder in names.items()}


def as_html(comparison: Comparison) -> str:
    """One page, with links to the models' own cards beside it."""
    return _render("comparison.html.j2", comparison)


def as_markdown(comparison: Comparison) -> str:
    """The comparison in Markdown."""
    return _render("comparison.md.j2", comparison)


def as_json(comparison: Comparison) -> str:
    """Sentence, names, and every row of every card."""
    models = {name: [asdict(row) for row in card.measured] for name, card in comparison.cards.items()}
    content = {"sentence": comparison.sentence, "models": models, "fingerprint": comparison.fingerprint}
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _render(template: str, comparison: Comparison) -> str:
    parts = {
        title: {metric: rows for metric, rows in comparison.metrics.items() if _any(rows).people == people}
        for title, people in (("About people", True), ("Not about people", False))
    }
    content = {"comparison": comparison, "parts": parts, "folders": folder_names(comparison)}
    return render(Path(__file__).parent / template, content, better=better, first=_any, value=_value, ends=_ends)


def _any(rows: list[Measured | None]) -> Measured:
    return next(row for row in rows if row is not None)


def _value(row: Measured | None) -> str:
    return "" if row is None else f"{row.value:.3f}"


def _ends(row: Measured | None) -> str:
    return "" if row is None or row.ci_low is None else f"[{row.ci_low:.3f}, {row.ci_high:.3f}]"
