"""Lexicons: the words by which captions name values of sensitive attributes, targets and proxies.

    sensitive: {gender: {woman: [woman, women, girl], man: {words: [man, men], not: [man-made], not_before: [cave]}}}
    target:    {dress: {words: [dress], not_before: [shirt, shoe]}}
    proxy:     {kitchen: [kitchen, stove]}

Phrases match whole words, whatever the case, white space, hyphens (read as spaces) and form of apostrophe. Composed
and decomposed accents (Unicode NFC and NFD) are equal, and soft hyphens are ignored; compatibility forms such as
full-width letters are other letters. Regular English plurals and those of -man are added; list other irregular forms.
Possessives match, because a word ends at an apostrophe.

Phrases under `not` do not name the label, though they may name another; nor do the label's words before one of
`not_before` ("a baby elephant") or as owners of `not_owner_of` ("men's rooms"). Negated words ("no women", "without a
helmet") name nothing.

A lexicon in another language lists its own words of `negation` and `function_words`, and sets `english_plurals: false`.
For a script without spaces between words (Chinese, Japanese, Thai), it also sets `match: substring`.
"""

import os
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from evenclip.errors import InputError
from evenclip.options import Options, read_yaml

_EQUIVALENT = str.maketrans({"‐": " ", "–": " ", "’": "'", "‘": "'"})
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2009\u202f\u3000"), " ")
_IGNORED = dict.fromkeys([0xAD, 0x200C, 0x200D, 0x2060, *range(0xFE00, 0xFE10)])
"""Soft hyphen, zero-width joiner and non-joiner, word joiner, variation selectors: inside words, or without meaning."""
_FIRST_LETTER = 0x30000
_SCRIPTS_WITHOUT_SPACES = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Beginnings of the Unicode names of their letters."""


@cache
def _letter_of_mark() -> dict[int, int]:
    """A letter for each combining mark: an ideograph that no caption has.

    For Python's ``\\b`` and ``\\w`` a mark is the end of a word (python/cpython#76379), which would cut off the vowels
    of Hindi and rare accents.
    """
    marks = (code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    return {mark: _FIRST_LETTER + number for number, mark in enumerate(marks)}


@cache
def _equivalent_in_unicode() -> dict[int, int | str | None]:
    return _EQUIVALENT | _SPACES | _letter_of_mark() | _IGNORED


@cache
def _mark_of_letter() -> dict[int, int]:
    return {letter: mark for mark, letter in _letter_of_mark().items()}


def normalise(text: str) -> str:
    """The form in which words are compared; `readable` makes it text again.

    Lower case, NFC, hyphens and white space as spaces, straight apostrophes, combining marks as letters. Possessives
    that tokenised captions write apart ("the man 's hat", "the man s hat") are joined.
    """
    return normalised_lines([text])


def normalised_lines(texts: Iterable[str]) -> str:
    """Texts in the form of `normalise`, each a line: one call is faster than many."""
    lines = "\n".join([(text if text.isascii() else _with_equivalents(text)).replace("\n", " ") for text in texts])
    lines = lines.lower().replace("-", " ").replace("\t", " ").replace("\r", " ")
    return lines.replace(" 's", "'s").replace(" s ", "'s ")


def _with_equivalents(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower()).translate(_equivalent_in_unicode())


def readable(normal: str) -> str:
    """Normalised text with its combining marks restored."""
    return normal if normal.isascii() else normal.translate(_mark_of_letter())


def is_without_spaces(text: str) -> bool:
    """Whether text, normalised or not, has letters of a script that writes no spaces between words."""
    names = (unicodedata.name(char, "") for char in readable(text) if not char.isascii())
    return any(name.startswith(_SCRIPTS_WITHOUT_SPACES) for name in names)


def _normal_phrase(text: str) -> str:
    phrase = " ".join(normalise(text).split())
    if not phrase or not (phrase[0].isalnum() and phrase[-1].isalnum()):
        raise ValueError(f"'{text}' does not begin and end with a letter, mark or digit")
    return phrase


def _flat(value: Any) -> Any:
    """Flatten nested lists, so that YAML anchors can be shared and extended."""
    if not isinstance(value, list):
        return value
    return [item for part in value for item in (part if isinstance(part, list) else [part])]


Phrase = Annotated[str, AfterValidator(_normal_phrase)]
Phrases = Annotated[list[Phrase], BeforeValidator(_flat)]
Name = Annotated[str, StringConstraints(pattern=r"^[\w -]+$")]


class Words(Options):
    """How captions name one label."""

    words: Annotated[Phrases, Field(min_length=1)]
    """Words or phrases; plurals are added."""
    exclude: Annotated[Phrases, Field(alias="not")] = []
    """Phrases that contain one of the words but do not name the label; plurals are added."""
    not_before: Phrases = []
    """Words that must not follow, as "elephant" in "baby elephant"; plurals are added."""
    not_owner_of: Phrases = []
    """Things whose owner is not in the picture, as "room" in "men's room"; plurals are added."""


class Negation(Options):
    """How captions negate: a word such as `no`, then perhaps some of `between`, then what is negated."""

    words: Phrases = [
        "no", "not", "n't", "isn't", "aren't", "wasn't", "weren't", "doesn't", "don't", "didn't", "won't", "can't",
        "without", "never", "neither", "nor", "instead of", "rather than", "lacking",
    ]  # fmt: skip
    """Words that negate what follows."""
    between: Phrases = [
        "a", "an", "any", "the", "his", "her", "their", "its", "other", "more", "single", "visible", "real", "human",
        "young", "old", "little", "small", "big", "large", "adult", "with", "wearing", "holding", "using", "carrying",
        "riding", "having",
    ]  # fmt: skip
    """Words that may stand in between; any other word ends the negation, as in "no shirt holding a baby"."""
    alternatives: Phrases = ["or", "nor"]
    """Words that continue a negated list: "no bicycles, skates or skateboards"; not with `match: substring`."""


Entry = Annotated[Words, BeforeValidator(lambda value: {"words": value} if isinstance(value, list) else value)]


class Lexicon(Options):
    """All labels of a lexicon file."""

    sensitive: dict[Name, Annotated[dict[Name, Entry], Field(min_length=1)]] = {}
    """Attribute -> value -> words."""
    target: dict[Name, Entry] = {}
    """Label -> words."""
    proxy: dict[Name, Entry] = {}
    """Name -> words."""
    negation: Negation = Negation()
    """How captions negate; the default is English."""
    function_words: list[Phrase] = [
        "a", "an", "the", "this", "that", "these", "those", "of", "in", "on", "at", "with", "by", "for", "to", "from",
        "and", "or", "is", "are", "was", "were", "be", "been", "has", "have", "as", "into", "onto", "over", "under",
        "near", "behind", "between", "off", "up", "down", "out", "through", "before", "after", "during", "while", "who",
        "which", "where", "when", "there", "it", "its", "he", "his", "she", "her", "they", "their", "you", "your", "i",
        "my", "we", "our",
    ]  # fmt: skip
    """Words that nearly every sentence of the language has; `utility: [wording]` requires one; [] = none required."""
    english_plurals: bool = True
    """Whether regular English plurals are added to all words."""
    match: Literal["words", "substring"] = "words"
    """`words`: phrases match whole words. `substring`: phrases match anywhere, also inside words, as scripts without
    spaces need; plain Latin words would match too much then ("man" in "woman")."""

    def blocks(self) -> list[dict[str, Words]]:
        """Labels by column name, in blocks within which the longest phrase wins: each attribute, targets, proxies."""
        blocks = [
            {f"sensitive.{attribute}.{value}": words for value, words in values.items()}
            for attribute, values in self.sensitive.items()
        ]
        blocks.append({f"target.{name}": words for name, words in self.target.items()})
        blocks.append({f"proxy.{name}": words for name, words in self.proxy.items()})
        return [block for block in blocks if block]

    def phrases(self) -> set[str]:
        """All words and phrases that name a label, normalised, without plurals."""
        return {phrase for block in self.blocks() for words in block.values() for phrase in words.words}

    def columns(self) -> list[str]:
        """Column names of the labels, in the file's order."""
        return [name for block in self.blocks() for name in block]


def read_lexicon(path: str | os.PathLike) -> Lexicon:
    """Read a lexicon file; `InputError` naming the key if it is malformed or has no label."""
    values: Any = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError("not a mapping", str(path), "write `sensitive:`, `target:` and `proxy:` blocks")
    lexicon = Lexicon.parse(values, str(path))
    if not lexicon.columns():
        raise InputError("the lexicon has no label", str(path), "write `sensitive:`, `target:` and `proxy:` blocks")
    return lexicon


def with_plurals(phrase: str) -> set[str]:
    """The phrase and its regular plurals (nurses, witnesses, ladies, policemen), and the possessive "mens"."""
    forms = {phrase}
    if phrase.endswith(("s", "x", "z", "ch", "sh")):
        forms.add(phrase + "es")
    elif phrase.endswith("y") and phrase[-2:-1] not in tuple("aeiou "):
        forms.add(phrase[:-1] + "ies")
    else:
        forms.add(phrase + "s")
    if phrase.endswith("man"):
        forms |= {phrase[:-2] + "en", phrase[:-2] + "ens"}
    return forms
