"""A card as HTML, Markdown and JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from markupsafe import Markup

from evenclip.card.content import Card, Measured, about_people
from evenclip.pages import render
from evenclip.report.key_metrics import better

USES = (
    "Research on how training data and training methods shape bias and quality of image-text models.",
    "Comparing models that were trained and measured under the same conditions.",
)
NOT_FOR = (
    "Any decision about a person: identifying, sorting, hiring, policing, lending, advertising.",
    "Claiming that a model is free of bias: the numbers hold for these sets and prompts, and some were not measured.",
)
LIMITS = (
    "Attributes of people are perceived, by annotators or from captions or drawings; they are not identities.",
    "Largest and absolute differences are above 0 by chance alone: compare them with the random score.",
    "Every zero-shot value depends on the wording of its prompts; a range as large as the value is a warning.",
    "Groups below the minimum size have no number; values of single groups and labels are not on this page.",
)


def as_html(card: Card) -> str:
    """One self-contained page, readable on a phone and on paper."""
    return _render("card.html.j2", card)


def as_markdown(card: Card) -> str:
    """The card in Markdown."""
    return _render("card.md.j2", card)


def as_json(card: Card) -> str:
    """Everything on the card, and its fingerprint."""
    content = asdict(card) | {"fingerprint": card.fingerprint, "uses": USES, "not_for": NOT_FOR, "limits": LIMITS}
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _render(template: str, card: Card) -> str:
    parts = {"About people": about_people(card.measured, True), "Not about people": about_people(card.measured, False)}
    content = {"card": card, "uses": USES, "not_for": NOT_FOR, "limits": LIMITS, "parts": parts}
    return render(
        Path(__file__).parent / template,
        content,
        number=_number,
        interval=_interval,
        percent=_percent_of_range,
        better=better,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(row: Measured) -> Markup:
    return Markup("" if row.ci_low is None else f"[{row.ci_low:.3f}, {row.ci_high:.3f}]")


def _percent_of_range(value: float, row: Measured) -> float:
    """Position of a value in the metric's range, in percent."""
    return round(100 * min(max((value - row.low) / (row.high - row.low), 0.0), 1.0), 2)
