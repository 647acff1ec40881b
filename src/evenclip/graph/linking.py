"""Entity linking: finds entities of different sources that are the same, by the normal form of their names.

Terms with equal normal forms are linked: lower case, `_` and `-` as spaces, no article, and the last word in the
singular if the graph has that name too. A sense (a WordNet synset, a VisualSem node, a Wikidata item) is linked with a
term only if its source has one sense of that name: `land_reform.n.01` is linked with "land reform", but `bank.n.01`,
one of several, is not linked with "bank". Things (a region of a picture, a caption) are never linked.

Singular forms follow WordNet's detachment rules for nouns (Fellbaum 1998; `morphy(7WN)`), with the graph's own names as
the dictionary and with lists of irregular and invariant nouns.
"""

import re
from collections import Counter
from collections.abc import Collection

import numpy as np

from evenclip.graph.tables import Entities

IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "oxen": "ox", "knives": "knife", "wives": "wife", "lives": "life",
    "leaves": "leaf", "loaves": "loaf", "shelves": "shelf", "wolves": "wolf", "halves": "half", "calves": "calf",
    "scarves": "scarf", "hooves": "hoof", "thieves": "thief", "dice": "die", "cacti": "cactus", "fungi": "fungus",
}  # fmt: skip
UNCHANGED = frozenset((
    "news", "glasses", "sunglasses", "jeans", "shorts", "pants", "trousers", "tights", "goggles", "scissors",
    "tongs", "pliers", "clothes", "species", "series", "means", "physics", "mathematics", "economics", "politics",
    "athletics", "gymnastics", "aerobics", "arms", "goods", "customs", "works", "stairs", "headquarters",
    "binoculars", "pajamas", "leggings", "overalls", "remains", "thanks", "suds", "spirits", "lens", "bus", "gas",
    "canvas", "christmas", "bras", "atlas", "alias", "pancreas", "chess", "tennis", "always", "perhaps", "times",
))  # fmt: skip
# WordNet's detachment rules for nouns: plural ending -> singular ending
_ENDINGS = (("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("ies", "y"), ("s", ""))
_ARTICLE = re.compile(r"^(?:an?|the) (?=.)")
_SPACES = re.compile(r"[\s_\-]+")


def normal_form(name: str) -> str:
    """Normal form of a name: lower case, single spaces for white space, `_` and `-`, no leading article.

    >>> normal_form("The Fire_Truck")
    'fire truck'
    """
    return _ARTICLE.sub("", _SPACES.sub(" ", name.lower()).strip())


def singular(phrase: str, dictionary: Collection[str]) -> str:
    """A phrase with its last word in the singular if the dictionary has that; otherwise unchanged.

    >>> singular("fire trucks", {"fire truck"}), singular("bus", {"bu"}), singular("two women", {"two woman"})
    ('fire truck', 'bus', 'two woman')
    """
    before, space, last = phrase.rpartition(" ")
    for word in singular_candidates(last):
        if (candidate := before + space + word) in dictionary:
            return candidate
    return phrase


def singular_candidates(word: str) -> list[str]:
    """Words whose plural ``word`` may be, the most likely first."""
    if word in IRREGULAR:
        return [IRREGULAR[word]]
    if len(word) < 4 or word in UNCHANGED or word.endswith(("ss", "us", "is", "ics")):
        return []
    return [word.removesuffix(ending) + end for ending, end in _ENDINGS if word.endswith(ending)]


def link(entities: Entities) -> np.ndarray:
    """Representative of each entity, shape (n_entities,) int: the first entity that it is linked with."""
    rows = [row for row, kind in enumerate(entities.kinds) if kind != "thing"]
    normal = {row: normal_form(entities.names[row]) for row in rows}
    names = set(normal.values())
    words = {row: singular(name, names) for row, name in normal.items()}
    n_senses = Counter((entities.sources[row], words[row]) for row in rows if entities.kinds[row] == "sense")
    representative = np.arange(len(entities.ids))
    first: dict[str, int] = {}
    for row in rows:
        if words[row] and (entities.kinds[row] == "term" or n_senses[entities.sources[row], words[row]] == 1):
            representative[row] = first.setdefault(words[row], row)
    return representative


def merge(entities: Entities, representative: np.ndarray) -> Entities:
    """Give each representative without a picture that of the first linked entity that has one."""
    image_keys, boxes = list(entities.image_keys), list(entities.boxes)
    for row in np.flatnonzero(representative != np.arange(len(representative))):
        first = representative[row]
        if image_keys[first] is None:
            image_keys[first], boxes[first] = image_keys[row], boxes[row]
    return Entities(entities.ids, entities.texts, entities.names, entities.kinds, entities.sources, image_keys, boxes)
