"""The vocabulary of relations: the text that stands for a relation, and which relation says the same from the tail.

Reads `relations.tsv` beside it: a relation's name in words, its text, and the text of its inverse (its own text where
the relation is symmetric). Sources that name one relation differently (IsA, is-a, _hypernym) meet in its text. What is
not in the table is its name in words, and its inverse is unknown.
"""

import csv
import re
from functools import cache
from pathlib import Path

IMAGE_OF, CAPTION_OF = "is an image of", "is a caption of"
HAS_ATTRIBUTE = "has attribute"
IS_A = "is a"
OPPOSITES = ("is the opposite of", "is distinct from")
"""Texts of the relations between terms of which at most one holds."""

_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-/]+")


def in_words(name: str) -> str:
    """A relation's name as words: AtLocation -> at location, _has_part -> has part, is-a -> is a."""
    return " ".join(_WORD_STARTS.sub(" ", name).lower().split())


def text_of(name: str) -> str:
    """The text of a relation, for people and for a text encoder: AtLocation -> is located at."""
    words = in_words(name)
    return _table()[0].get(words, words)


def inverse_of(text: str) -> str | None:
    """The text that says the same from the tail to the head; None where it is not known."""
    return _table()[1].get(text)


@cache
def _table() -> tuple[dict[str, str], dict[str, str]]:
    with open(Path(__file__).with_name("relations.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["name"]: row["text"] for row in rows}, {row["text"]: row["inverse"] for row in rows if row["inverse"]}
