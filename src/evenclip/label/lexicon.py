"""Lexicons: the words by which a caption names an attribute's value, a target or a proxy.

    sensitive: {gender: {woman: [woman, women, girl], man: {words: [man, men], not: [man-made], not_before: [cave]}}}
    target:    {dress: {words: [dress], not_before: [shirt, shoe]}}
    proxy:     {kitchen: [kitchen, stove]}

Case, white space, hyphens (read as spaces) and curly apostrophes make no difference; regular plurals and those of
-man are added, other irregular forms are to be listed; possessives match, because a word ends at an apostrophe.
Phrases under `not` are no sign of that label, though they may be of another; nor are the label's words before one of
`not_before` ("a baby elephant") or as owners of `not_owner_of` ("men's rooms"). Words that are denied ("no women",
"without a helmet") name nothing. The lexicon's language is English, unless it lists its own words of `negation` and
`function_words`, and sets `english_plurals: false`.
"""

import os
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from evenclip.errors import InputError
from evenclip.options import Options, read_yaml

_AS_ONE = str.maketrans({"-": " ", "‐": " ", "–": " ", "\t": " ", "\n": " ", "\r": " ", "’": "'", "‘": "'"})


def normalise(text: str) -> str:
    """Lower case, hyphens and white space as spaces, straight apostrophes; the form in which words are compared.

    Possessives are joined, which tokenised captions write apart: "the man 's hat", or "the man s hat".
    """
    return text.lower().translate(_AS_ONE).replace(" 's", "'s").replace(" s ", "'s ")


def _normal_phrase(text: str) -> str:
    phrase = " ".join(normalise(text).split())
    if not phrase or not (phrase[0].isalnum() and phrase[-1].isalnum()):
        raise ValueError(f"'{text}' does not begin and end with a letter or digit")
    return phrase


def _flat(value: Any) -> Any:
    """Lists in a list become part of it, so that YAML anchors can be shared and added to."""
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
    """Phrases that hold one of the words and yet do not name the label; plurals are added."""
    not_before: Phrases = []
    """What follows `words` where they do not name the label, as in "baby elephant"; plurals are added."""
    not_owner_of: Phrases = []
    """Things that do not show whose they are, as in "men's room"; plurals are added."""


class Negation(Options):
    """How captions deny what they name: a word such as `no`, then perhaps some of `between`, then what is denied."""

    words: Phrases = [
        "no", "not", "n't", "isn't", "aren't", "wasn't", "weren't", "doesn't", "don't", "didn't", "won't", "can't",
        "without", "never", "neither", "nor", "instead of", "rather than", "lacking",
    ]  # fmt: skip
    """Words that deny what follows."""
    between: Phrases = [
        "a", "an", "any", "the", "his", "her", "their", "its", "other", "more", "single", "visible", "real", "human",
        "young", "old", "little", "small", "big", "large", "adult", "with", "wearing", "holding", "using", "carrying",
        "riding", "having",
    ]  # fmt: skip
    """Words that may stand between; any other word ends what is denied, as in "no shirt holding a baby"."""
    alternatives: Phrases = ["or", "nor"]
    """Words that go on with what is denied: "no bicycles, skates or skateboards"."""


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
    """How captions deny what they name; the default is English."""
    function_words: list[Phrase] = [
        "a", "an", "the", "this", "that", "these", "those", "of", "in", "on", "at", "with", "by", "for", "to", "from",
        "and", "or", "is", "are", "was", "were", "be", "been", "has", "have", "as", "into", "onto", "over", "under",
        "near", "behind", "between", "off", "up", "down", "out", "through", "before", "after", "during", "while", "who",
        "which", "where", "when", "there", "it", "its", "he", "his", "she", "her", "they", "their", "you", "your", "i",
        "my", "we", "our",
    ]  # fmt: skip
    """Words that a sentence of the language hardly does without; `utility: [wording]` looks for them, [] does not."""
    english_plurals: bool = True
    """Whether regular English plurals are added to all words."""

    def blocks(self) -> list[dict[str, Words]]:
        """Labels by column name, in blocks within which the longest phrase wins: each attribute, targets, proxies."""
        blocks = [
            {f"sensitive.{attribute}.{value}": words for value, words in values.items()}
            for attribute, values in self.sensitive.items()
        ]
        blocks.append({f"target.{name}": words for name, words in self.target.items()})
        blocks.append({f"proxy.{name}": words for name, words in self.proxy.items()})
        return [block for block in blocks if block]

    def columns(self) -> list[str]:
        """Column names of the labels, in the file's order."""
        return [name for block in self.blocks() for name in block]


def read_lexicon(path: str | os.PathLike) -> Lexicon:
    """Read a lexicon file; `InputError` with the key if it is not one, or if it is empty."""
    values: Any = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError("not a mapping", str(path), "write `sensitive:`, `target:` and `proxy:` blocks")
    lexicon = Lexicon.parse(values, str(path))
    if not lexicon.columns():
        raise InputError("the lexicon has no label", str(path), "write `sensitive:`, `target:` and `proxy:` blocks")
    return lexicon


def with_plurals(phrase: str) -> set[str]:
    """The phrase, and its regular plurals: nurses, witnesses, ladies, policemen; and the possessive "mens"."""
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
