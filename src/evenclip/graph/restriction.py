"""Restriction of a graph to what a corpus speaks of: its vocabulary, and what is within k hops of it.

Reads the captions of a data folder. An entity is in the vocabulary if all its words are words of the captions, or
their singulars, or if it is a picture; with 0 hops a triple stays if both its ends are, with k > 0 if one of them is
within k - 1 hops.
"""

import os
import re

import numpy as np

from evenclip.data.shards import read_pairs
from evenclip.graph.linking import normal_form, singular_candidates
from evenclip.graph.tables import Entities, Triples

_WORD = re.compile(r"[^\W_]+")


def read_vocabulary(data: str | os.PathLike) -> set[str]:
    """The words of all captions of a data folder, and their singulars."""
    captions = read_pairs(data, ["captions"]).column("captions").combine_chunks().flatten().to_pylist()
    found = set().union(*(_WORD.findall(caption.lower()) for caption in captions))
    return found.union(*map(singular_candidates, found))


def in_vocabulary(entities: Entities, vocabulary: set[str]) -> np.ndarray:
    """Which entities the captions speak of or show, shape (n_entities,)."""
    return np.array(
        [
            key is not None or (bool(words := _WORD.findall(normal_form(name))) and vocabulary.issuperset(words))
            for name, key in zip(entities.names, entities.image_keys, strict=True)
        ],
        dtype=bool,
    )


def within_hops(triples: Triples, start: np.ndarray, hops: int) -> np.ndarray:
    """Which triples are within ``hops`` of the entities of the mask ``start``, shape (n_triples,)."""
    near = start.copy()
    for _ in range(hops - 1):
        touched = near[triples.head] | near[triples.tail]
        near[triples.head[touched]] = near[triples.tail[touched]] = True
    return near[triples.head] & near[triples.tail] if hops == 0 else near[triples.head] | near[triples.tail]
