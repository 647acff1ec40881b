"""Scene graphs by picture: the things in it, their attributes, boxes and relations, looked up by name.

Two dogs in a picture are one entry with the attributes of both. A statement is thus more often held to be possibly
true, which is the safe side when false captions are made.
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
    """The scene graphs of all pictures by key, and the taxonomy of the graph's terms.

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
        """Names of other things of the same kind: opposites, and the nearest terms that share a parent.

        The nearest are the `MAX_RELATIVES` (and ties) with the highest index of Adamic and Adar (2003), in which
        parents with few children weigh most. Parents, children and words for attributes are left out, because what is
        called ``name`` may well be one of these too.
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
    """Collect the scene graphs of linked triples, redundant ones too; ``texts`` are the relations' texts by number."""
    things = {
        row: key
        for row, (kind, key) in enumerate(zip(entities.kinds, entities.image_keys, strict=True))
        if kind == "thing" and key is not None and entities.texts[row]
    }
    dictionary = {normal_form(name) for name in entities.names}
    names = [singular(normal_form(name), dictionary) for name in entities.names]
    scenes = Scenes({}, {names[row] for row in things}, set(), *(defaultdict(set) for _ in range(3)))
    for row, key in things.items():
        facts = scenes.pictures.setdefault(key, PictureFacts())
        facts.attributes[names[row]]  # a thing without attributes is there too
        if entities.boxes[row] is not None:
            facts.boxes[names[row]].append(entities.boxes[row])
    is_used = np.isin(triples.head, list(things)) | np.isin(triples.relation, _rows(texts, IS_A, *OPPOSITES))
    used = triples.where(is_used)
    for head, relation, tail in zip(used.head.tolist(), used.relation.tolist(), used.tail.tolist(), strict=True):
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
