"""What the graph says of each picture: its things, their attributes and places, and how they are related.

Things are known by their name here: two dogs of a picture are one entry with the attributes of both. That errs on the
side of "may be so", which is what a check that something is false needs.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import log

import numpy as np

from evenclip.graph.linking import normal_form, singular
from evenclip.graph.tables import HAS_ATTRIBUTE, IS_A, OPPOSITES, Box, Entities, Triples, inverse_of

MAX_RELATIVES = 10


@dataclass
class PictureFacts:
    """One picture's scene graph.

    Attributes
    ----------
    attributes : dict of str to set of str
        By the name of the thing; a thing without attributes has an empty set.
    relations : dict of (str, str) to set of str
        By the names of subject and object; a relation is entered from the object too, where its inverse is known.
    boxes : dict of str to list of Box
    """

    attributes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    relations: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    boxes: dict[str, list[Box]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Scenes:
    """All pictures' facts by key, and what the graph's terms have to do with each other.

    Attributes
    ----------
    pictures : dict of str to PictureFacts
    names, attributes : set of str
        Names of things, and words for their attributes, in any picture.
    parents, children : dict of str to set of str
        The terms that a term "is a", and those that are one.
    opposites : dict of str to set of str
        Terms that are opposite to a term or distinct from it.
    """

    pictures: dict[str, PictureFacts]
    names: set[str]
    attributes: set[str]
    parents: dict[str, set[str]]
    children: dict[str, set[str]]
    opposites: dict[str, set[str]]

    def siblings(self, name: str) -> set[str]:
        """The names of things that are what ``name`` is and yet something else: opposites, and the nearest relatives.

        Relatives share a parent; the nearest are the `MAX_RELATIVES` (and ties) with the highest index of Adamic and
        Adar (2003): parents with few children count most. Words for attributes are none: what is called a "tamlet"
        may well be a "lorker" too.
        """
        family, below = self.parents.get(name, set()), self.children.get(name, set())
        left_out = family | below | self.attributes | {name}
        nearness: Counter[str] = Counter()
        for parent in family:
            children = self.children[parent]
            nearness.update(dict.fromkeys((children & self.names) - left_out, 1 / log(1 + len(children))))
        ranked = sorted(nearness.values(), reverse=True)[:MAX_RELATIVES]
        relatives = {other for other, near in nearness.items() if near >= ranked[-1]}
        return relatives | ((self.opposites.get(name, set()) & self.names) - left_out)


def read_scenes(entities: Entities, triples: Triples, texts: list[str]) -> Scenes:
    """Collect the facts of linked triples, with none left out; ``texts`` are the relations' texts by number."""
    things = {
        row: key
        for row, (kind, key) in enumerate(zip(entities.kinds, entities.image_keys, strict=True))
        if kind == "thing" and key is not None and entities.texts[row]
    }
    known = {normal_form(name) for name in entities.names}
    names = [singular(normal_form(name), known) for name in entities.names]
    scenes = Scenes({}, {names[row] for row in things}, set(), *(defaultdict(set) for _ in range(3)))
    for row, key in things.items():
        facts = scenes.pictures.setdefault(key, PictureFacts())
        facts.attributes[names[row]]  # a thing without attributes is there too
        if entities.boxes[row] is not None:
            facts.boxes[names[row]].append(entities.boxes[row])
    is_told = np.isin(triples.head, list(things)) | np.isin(triples.relation, _rows(texts, IS_A, *OPPOSITES))
    told = triples.where(is_told)
    for head, relation, tail in zip(told.head.tolist(), told.relation.tolist(), told.tail.tolist(), strict=True):
        _add(scenes, things, names, (head, texts[relation], tail))
    return scenes


def _rows(texts: list[str], *wanted: str) -> list[int]:
    return [row for row, text in enumerate(texts) if text in wanted]


def _add(scenes: Scenes, things: dict[int, str], names: list[str], triple: tuple[int, str, int]) -> None:
    head, relation, tail = triple
    h, t = names[head], names[tail]
    if head not in things:
        if relation == IS_A:
            scenes.parents[h].add(t)
            scenes.children[t].add(h)
        elif relation in OPPOSITES:
            scenes.opposites[h].add(t)
            scenes.opposites[t].add(h)
    elif relation == HAS_ATTRIBUTE:
        scenes.pictures[things[head]].attributes[h].add(t)
        scenes.attributes.add(t)
    elif things.get(tail) == things[head]:
        relations = scenes.pictures[things[head]].relations
        relations[h, t].add(relation)
        if inverse := inverse_of(relation):
            relations[t, h].add(inverse)
