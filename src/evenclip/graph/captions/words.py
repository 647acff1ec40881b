"""Word classes for parsing captions, read from `words.yaml`, which explains each."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evenclip.options import read_yaml

_VOWELS = "aeiou"
_DOUBLED = frozenset((
    "sit", "run", "swim", "hit", "cut", "put", "get", "bat", "hug", "pet", "dig", "spin", "grab", "jog", "wrap",
    "step", "tug", "flip", "sip", "skip",
))  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Word classes of `words.yaml`.

    ``verbs`` and ``bases`` map inflected and base forms of verbs to the form in -ing. ``families`` maps an attribute to
    its family, such as color; ``gender_swaps`` a word for a man to that for a woman.
    """

    families: dict[str, str]
    verbs: dict[str, str]
    bases: dict[str, str]
    classes: dict[str, frozenset[str]]
    prepositions: dict[str, list[tuple[str, ...]]]
    siblings: dict[str, list[list[str]]]
    gender_swaps: dict[str, str]

    def is_ing(self, word: str) -> bool:
        """Whether a word is a verb form in -ing."""
        return word.endswith("ing") and len(word) > 4 and word not in self.classes["ing_nouns"]

    def is_participle(self, word: str) -> bool:
        """Whether a word is a past participle."""
        return self.is_regular_participle(word) or word in self.classes["irregular_participles"]

    def is_regular_participle(self, word: str) -> bool:
        """Whether a word has the ending of a regular past participle."""
        return word.endswith("ed") and len(word) > 3 and word not in self.classes["ed_nouns"]

    def is_attribute(self, word: str) -> bool:
        """Whether a word before a noun is its attribute."""
        return word in self.families or self.is_regular_participle(word)


@cache
def caption_words() -> Words:
    """The word classes, read once."""
    values = read_yaml(Path(__file__).with_name("words.yaml"))
    families = {word: family for family, words in reversed(values["attributes"].items()) for word in words}
    verbs = {form: _ing(base) for base in values["verbs"] for form in (_third_person(base), _ing(base))}
    prepositions: dict[str, list[tuple[str, ...]]] = {}
    for phrase in sorted(values["prepositions"], key=lambda phrase: -len(phrase.split())):
        prepositions.setdefault(phrase.split()[0], []).append(tuple(phrase.split()))
    classes = {name: frozenset(words) for name, words in values.items() if isinstance(words, list)}
    bases = {base: _ing(base) for base in values["verbs"]}
    return Words(families, verbs, bases, classes, prepositions, values["siblings"], values["gender_swaps"])


def _ing(base: str) -> str:
    if base in ("lie", "tie", "die"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    return base + (base[-1] if base in _DOUBLED else "") + "ing"


def _third_person(base: str) -> str:
    if base == "have":
        return "has"
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        return base + "es"
    if base.endswith("y") and base[-2] not in _VOWELS:
        return base[:-1] + "ies"
    return base + "s"
