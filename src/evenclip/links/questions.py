"""Questions of link prediction: held-out triples with each end shown as a text or as an image.

A content is a text or image that an entity is shown as, numbered as in `MultiModalGraph.content`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evenclip.model.multimodal_graph import MultiModalGraph

WAYS = ((False, False), (True, False), (False, True), (True, True))
"""Whether head and tail are shown as images."""


@dataclass(frozen=True)
class Questions:
    """n triples shown in one ``way``; of each, the tail and the head are asked for.

    ``asked`` (n, 3): content, relation, content. ``cluster`` (n,): the picture that a triple is about or, below 0, the
    triple itself. ``known`` (m, 3) and ``train`` (k, 3): all triples, and those of the training split, shown this way.
    """

    way: tuple[bool, bool]
    asked: np.ndarray
    cluster: np.ndarray
    known: np.ndarray
    train: np.ndarray


def answers_among(graph: MultiModalGraph, pictures: np.ndarray) -> np.ndarray:
    """Sorted contents that can be answers: the entities' texts, and the images in ``pictures``, rows of pairs."""
    shown = np.unique(graph.looks_like[np.isin(graph.entity_pair, pictures)])
    return np.concatenate([np.unique(graph.entity_text[graph.entity_text >= 0]), len(graph.texts) + shown])


def draw_questions(
    graph: MultiModalGraph, answers: np.ndarray, split: str, n: int, rng: np.random.Generator
) -> Iterator[Questions]:
    """Draw at most ``n`` triples of a split for each way to show them, with both ends among ``answers``.

    Triples are left out if they look like one of the training split, look the same at both ends, or are about a picture
    and would be shown as two texts: "circle, left of, square" is not true in general.
    """
    ends = np.stack([graph.head, graph.tail])
    for way in WAYS:
        as_image = np.array(way)[:, None]
        can = np.where(as_image, graph.entity_pair[ends] >= 0, graph.entity_text[ends] >= 0).all(axis=0)
        row = np.flatnonzero(can)
        head, tail = graph.content(ends[:, row], as_image)
        every = np.stack([head, graph.relation[row], tail], axis=1)
        code = np.unique(every, axis=0, return_inverse=True)[1].ravel()  # equal triples look alike
        in_train = graph.split[row] == "train"
        fits = (graph.split[row] == split) & ~np.isin(code, code[in_train]) & (head != tail)
        fits &= np.isin(every[:, [0, 2]], answers).all(axis=1)
        if not any(way):
            fits &= ~graph.is_particular[ends[:, row]].any(axis=0)
        chosen = np.flatnonzero(fits)
        chosen = chosen[np.unique(code[chosen], return_index=True)[1]]
        chosen = np.sort(rng.choice(chosen, min(n, len(chosen)), replace=False))
        if len(chosen):
            picture = graph.entity_pair[ends[0 if way[0] else 1, row[chosen]]]
            cluster = picture if any(way) else -1 - row[chosen]
            yield Questions(way, every[chosen], cluster, every, every[in_train])
