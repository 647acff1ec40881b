"""Normal form and accuracy of answers as in the official VQA evaluation, and properties of questions.

Source: Antol et al. 2015, and https://visualqa.org/evaluation.html.
"""

import re

import numpy as np

_ARTICLES = {"a", "an", "the"}
_NUMBERS = dict(zip(("none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
                    (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), strict=True))  # fmt: skip
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[,](?=\d)")
_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[;:/\[\]\"{}()=+\\_\-><@`,?!]")

PROPERTIES = {
    "negation": re.compile(r"\b(no|not|none|nobody|nothing|without|never|neither)\b|n't\b", re.IGNORECASE),
    "color": re.compile(r"\bcolou?rs?\b", re.IGNORECASE),
    "size": re.compile(
        r"\b(size|big|bigger|biggest|large|larger|largest|small|smaller|smallest|tall|short|huge|tiny)\b", re.IGNORECASE
    ),
    "position": re.compile(
        r"\b(left|right|above|below|under|over|behind|beneath|beside|between|top|bottom|upper|lower|"
        r"in front of|next to|on top of)\b",
        re.IGNORECASE,
    ),
}
"""Tried in this order: "is there no small square?" counts as negation."""


def normalise_answer(answer: str) -> str:
    """Normal form of an answer, for comparison.

    Lower case, no articles, no punctuation, digits for numbers up to ten. Instead of the official table of
    contractions, apostrophes are dropped, so that "dont" and "don't" are equal here too.
    """
    text = _POINT.sub("", _BETWEEN_DIGITS.sub("", answer.lower().replace("'", "").replace("’", "")))
    words = _PUNCTUATION.sub(" ", text).split()
    return " ".join(str(_NUMBERS.get(word, word)) for word in words if word not in _ARTICLES)


def soft_accuracy(answer: str, given: list[str]) -> float:
    """Official soft accuracy of an answer, in [0, 1]: mean over annotators of min(1, agreeing others / 3).

    Parameters
    ----------
    answer : str
    given : list of str
        Answers of the annotators (ten in VQA v2); compared after `normalise_answer`.
    """
    right = normalise_answer(answer)
    n_right = sum(normalise_answer(reference) == right for reference in given)
    agreed = n_right * min(1.0, (n_right - 1) / 3) + (len(given) - n_right) * min(1.0, n_right / 3)
    return agreed / len(given)


def property_of(question: str) -> str:
    """Property that a question asks for: negation, color, size, position or "other"."""
    return next((name for name, pattern in PROPERTIES.items() if pattern.search(question)), "other")


def soft_targets(answers: list[list[str]], frequent: list[str]) -> np.ndarray:
    """Share of annotators who gave each of the ``frequent`` answers, float32, shape (n_questions, n_answers)."""
    column_of = {answer: i for i, answer in enumerate(frequent)}
    shares = np.zeros((len(answers), len(frequent)), np.float32)
    for row, given in zip(shares, answers, strict=True):
        for answer in given:
            if (column := column_of.get(normalise_answer(answer))) is not None:
                row[column] += 1 / len(given)
    return shares
