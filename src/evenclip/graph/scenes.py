"""Scene graphs of pictures: the objects in each, with their attributes, boxes and relations, by name.

Objects of one name share an entry: two dogs in a picture are one entry with the attributes of both. A statement is then
more often taken to be possibly true, which is the safe side for making false captions.
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
    """Scene graph of one picture.

    Attributes
    ----------
    attributes : dict of str to set of str
        By the name of the object; an object without attributes has an empty set.
    relations : dict of (str, str) to set of str
        By the names of subject and object; the inverse relation, where the vocabulary has one, is entered too.
    boxes : dict of str to list of Box
    """

    attributes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    relations: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    boxes: dict[str, list[Box]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Scenes:
    """Scene graphs of all pictures, and the taxonomy of the graph's terms.

    Attributes
    ----------
    pictures : dict of str to PictureFacts
        By the picture's key.
    names, attributes : set of str
        Names of objects, and words for their attributes, over all pictures.
    parents, children : dict of str to set of str
        Hypernyms and hyponyms of a term: what it "is a", and what "is a" it.
    opposites : dict of str to set of str
        Terms that are the opposite of a term or distinct from it.
    """

    pictures: dict[str, PictureFacts]
    names: set[str]
    attributes: set[str]
    parents: dict[str, set[str]]
    children: dict[str, set[str]]
    opposites: dict[str, set[str]]

    def siblings(self, name: str) -> set[str]:
        """Names of other objects of the same kind: opposites, and the nearest terms that share a parent.

        The nearest terms are the `MAX_RELATIVES` (and ties) with the highest Adamic-Adar index (2003), which gives
        parents with few children the most weight. Parents, children and attribute words are left out, because an
        object called ``name`` may be one of these too.
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
    """Collect scene graphs from linked triples, including redundant ones; ``texts`` are the texts of the relations."""
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
        facts.attributes[names[row]]  # creates an empty entry for an object without attributes
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
