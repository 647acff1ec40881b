"""Restriction of a graph to what a corpus speaks of, and to what is within k hops of it.

Reads the captions of a data folder. An entity is spoken of if its words stand in a caption, one behind the other, the
last perhaps in the plural; and so is every picture. With 0 hops a triple stays if both its ends are spoken of, with
k > 0 if one of them is within k - 1 hops.
"""

import os
import re

import numpy as np

from evenclip.data.shards import read_pairs
from evenclip.graph.linking import normal_form, singular
from evenclip.graph.tables import Entities, Triples

MAX_WORDS = 4
"""Longer names, such as sentences, are not looked for."""
_WORD = re.compile(r"[^\W_]+")


def spoken_of(entities: Entities, data: str | os.PathLike) -> np.ndarray:
    """Which entities the captions of a data folder speak of, or its pictures show, shape (n_entities,)."""
    captions = read_pairs(data, ["captions"]).column("captions").combine_chunks().flatten().to_pylist()
    names = [" ".join(_WORD.findall(normal_form(name))) for name in entities.names]
    met = _met(captions, set(names) - {""})
    return np.array([key is not None or name in met for name, key in zip(names, entities.image_keys, strict=True)])


def _met(captions: list[str], names: set[str]) -> set[str]:
    """Those of ``names`` that stand in some caption."""
    firsts = {name.split()[0] for name in names}
    found: set[str] = set()
    for caption in captions:
        words = _WORD.findall(caption.lower())
        for start, word in enumerate(words):
            for end in range(start + 1, min(start + MAX_WORDS, len(words)) + 1 if word in firsts else start + 2):
                phrase = " ".join(words[start:end])
                found |= {phrase, singular(phrase, names)} & names
    return found


def within_hops(triples: Triples, start: np.ndarray, hops: int) -> np.ndarray:
    """Which triples are within ``hops`` of the entities of the mask ``start``, shape (n_triples,)."""
    near = start.copy()
    for _ in range(hops - 1):
        touched = near[triples.head] | near[triples.tail]
        near[triples.head[touched]] = near[triples.tail[touched]] = True
    return near[triples.head] & near[triples.tail] if hops == 0 else near[triples.head] | near[triples.tail]
