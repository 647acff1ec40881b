"""Questions of link prediction: held-out triples with each end given as text or as image.

A content is the text or image that stands for an entity, numbered as in `MultiModalGraph.content`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evenclip.model.multimodal_graph import MultiModalGraph

WAYS = ((False, False), (True, False), (False, True), (True, True))
"""Whether head and tail are given as images."""


@dataclass(frozen=True)
class Questions:
    """n triples whose ends are given in one ``way`` (see `WAYS`); both the tail and the head of each are predicted.

    ``asked`` (n, 3): content, relation, content. ``cluster`` (n,): picture that a triple is about or, if negative, the
    triple itself. ``true_triples`` (m, 3) and ``train`` (k, 3): all triples, and those of the training split, given
    this way.
    """

    way: tuple[bool, bool]
    asked: np.ndarray
    cluster: np.ndarray
    true_triples: np.ndarray
    train: np.ndarray


def answers_among(graph: MultiModalGraph, pictures: np.ndarray) -> np.ndarray:
    """Sorted candidate contents: the entities' texts, and the images in ``pictures`` (rows of pairs)."""
    images = np.unique(graph.looks_like[np.isin(graph.entity_pair, pictures)])
    return np.concatenate([np.unique(graph.entity_text[graph.entity_text >= 0]), len(graph.texts) + images])


def draw_questions(
    graph: MultiModalGraph, answers: np.ndarray, split: str, n: int, rng: np.random.Generator
) -> Iterator[Questions]:
    """Draw at most ``n`` triples of a split for each of the `WAYS`, with both ends among ``answers``.

    A triple is left out if it has the same contents as one of the training split or the same content at both ends. It
    is also left out if it is about one picture and would be given as two texts: "circle, left of, square" is not true
    in general.
    """
    ends = np.stack([graph.head, graph.tail])
    for way in WAYS:
        as_image = np.array(way)[:, None]
        has_contents = np.where(as_image, graph.entity_pair[ends] >= 0, graph.entity_text[ends] >= 0).all(axis=0)
        row = np.flatnonzero(has_contents)
        head, tail = graph.content(ends[:, row], as_image)
        contents = np.stack([head, graph.relation[row], tail], axis=1)
        code = np.unique(contents, axis=0, return_inverse=True)[1].ravel()  # the same for triples with equal contents
        in_train = graph.split[row] == "train"
        is_eligible = (graph.split[row] == split) & ~np.isin(code, code[in_train]) & (head != tail)
        is_eligible &= np.isin(contents[:, [0, 2]], answers).all(axis=1)
        if not any(way):
            is_eligible &= ~graph.is_particular[ends[:, row]].any(axis=0)
        chosen = np.flatnonzero(is_eligible)
        chosen = chosen[np.unique(code[chosen], return_index=True)[1]]
        chosen = np.sort(rng.choice(chosen, min(n, len(chosen)), replace=False))
        if len(chosen):
            picture = graph.entity_pair[ends[0 if way[0] else 1, row[chosen]]]
            cluster = picture if any(way) else -1 - row[chosen]
            yield Questions(way, contents[chosen], cluster, contents, contents[in_train])
