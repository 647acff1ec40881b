"""Which entities of different sources are one: by their words in a normal form, and by their sense where it is given.

A term is its words: lower case, `_` and `-` as spaces, no article, its last word in the singular where the graph has
that too. A sense (a WordNet synset, a VisualSem node, a Wikidata item) has an id of its own; it is the same as a term
where its source gives those words one sense only: WordNet's `bank.n.01` stays apart from the term "bank", and
`land_reform.n.01` does not. A thing (a part of a picture, a caption) is only itself.

The singular follows WordNet's rules of detachment for nouns (Fellbaum 1998; `morphy(7WN)`), with the graph's own names
as the dictionary, and a list of irregular and of unchanged nouns.
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
# WordNet's detachment rules for nouns: an ending, and what stands for it in the singular
_ENDINGS = (("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("ies", "y"), ("s", ""))
_ARTICLE = re.compile(r"^(?:an?|the) (?=.)")
_SPACES = re.compile(r"[\s_\-]+")


def normal_form(name: str) -> str:
    """Lower case, single spaces for white space, `_` and `-`, no article in front.

    >>> normal_form("The Fire_Truck")
    'fire truck'
    """
    return _ARTICLE.sub("", _SPACES.sub(" ", name.lower()).strip())


def singular(phrase: str, known: Collection[str]) -> str:
    """``phrase`` with its last word in the singular, if that is in ``known``; else as it is.

    >>> singular("fire trucks", {"fire truck"}), singular("bus", {"bu"}), singular("two women", {"two woman"})
    ('fire truck', 'bus', 'two woman')
    """
    before, space, last = phrase.rpartition(" ")
    for word in singular_candidates(last):
        if (candidate := before + space + word) in known:
            return candidate
    return phrase


def singular_candidates(word: str) -> list[str]:
    """The words of which ``word`` may be the plural, the likeliest first."""
    if word in IRREGULAR:
        return [IRREGULAR[word]]
    if len(word) < 4 or word in UNCHANGED or word.endswith(("ss", "us", "is", "ics")):
        return []
    return [word.removesuffix(ending) + end for ending, end in _ENDINGS if word.endswith(ending)]


def link(entities: Entities) -> np.ndarray:
    """The number of the entity that stands for each, shape (n_entities,): the first that is the same."""
    rows = [row for row, kind in enumerate(entities.kinds) if kind != "thing"]
    normal = {row: normal_form(entities.names[row]) for row in rows}
    known = set(normal.values())
    words = {row: singular(name, known) for row, name in normal.items()}
    n_senses = Counter((entities.sources[row], words[row]) for row in rows if entities.kinds[row] == "sense")
    standing = np.arange(len(entities.ids))
    first: dict[str, int] = {}
    for row in rows:
        if words[row] and (entities.kinds[row] == "term" or n_senses[entities.sources[row], words[row]] == 1):
            standing[row] = first.setdefault(words[row], row)
    return standing


def merge(entities: Entities, standing: np.ndarray) -> Entities:
    """The entities with what the others of the same group add to them: a picture, where they have none."""
    image_keys, boxes = list(entities.image_keys), list(entities.boxes)
    for row in np.flatnonzero(standing != np.arange(len(standing))):
        chosen = standing[row]
        if image_keys[chosen] is None:
            image_keys[chosen], boxes[chosen] = image_keys[row], boxes[row]
    return Entities(entities.ids, entities.texts, entities.names, entities.kinds, entities.sources, image_keys, boxes)
