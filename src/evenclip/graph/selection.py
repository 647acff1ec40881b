"""Which triples are kept: no repetitions, what a corpus speaks of, k hops around it; and the split of each."""

import os
import re
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from evenclip.data.shards import read_pairs
from evenclip.graph.linking import normal_form, singular
from evenclip.graph.tables import Entities, Triples, inverse_of

MIN_SHARE = 0.8
MIN_TRIPLES = 10
"""Fewer shared triples prove nothing."""


@dataclass(frozen=True)
class Redundancy:
    """Masks over triples, shape (n,), and the relations found inverse or equal by their triples.

    Attributes
    ----------
    loop, duplicate, mirrored : ndarray of bool
        Head and tail are one; the same triple came before; an equal or inverse relation's triple came before.
    detected : list of (int, int, "equal" | "inverse")
        Relations that the vocabulary does not tie, and the triples do; a symmetric one is inverse to itself.
    """

    loop: np.ndarray
    duplicate: np.ndarray
    mirrored: np.ndarray
    detected: list[tuple[int, int, str]]

    @property
    def kept(self) -> np.ndarray:
        """The triples that say something new."""
        return ~(self.loop | self.duplicate | self.mirrored)


def find_redundant(triples: Triples, texts: list[str]) -> Redundancy:
    """Find the redundant triples; ``texts`` are the relations' texts by number."""
    loop = triples.head == triples.tail
    duplicate = ~loop & ~_is_first(triples.relation, *_ends(triples.head, triples.tail))
    distinct = np.flatnonzero(~(loop | duplicate))
    found = triples.where(distinct)
    known = _known_ties(texts)
    detected = [tie for tie in _detect_ties(found, len(texts)) if tie not in known]
    group, flipped, symmetric = _facts(known | set(detected), len(texts))
    exchange = flipped[found.relation] | (symmetric[found.relation] & (found.head > found.tail))
    head = np.where(exchange, found.tail, found.head)
    tail = np.where(exchange, found.head, found.tail)
    mirrored = np.zeros(len(triples), dtype=bool)
    mirrored[distinct] = ~_is_first(group[found.relation], *_ends(head, tail))
    return Redundancy(loop, duplicate, mirrored, detected)


def _ends(head: np.ndarray, tail: np.ndarray) -> tuple[np.ndarray, int]:
    """Head and tail as one number each below the count that comes with it."""
    if len(head) == 0:
        return head, 1
    width = int(max(head.max(), tail.max())) + 1
    values, codes = np.unique(head * width + tail, return_inverse=True)
    return codes, len(values)


def _is_first(relation: np.ndarray, codes: np.ndarray, n_codes: int) -> np.ndarray:
    """Whether each (relation, ends) is the first of its kind."""
    first = np.zeros(len(relation), dtype=bool)
    first[np.unique(relation * n_codes + codes, return_index=True)[1]] = True
    return first


def _known_ties(texts: list[str]) -> set[tuple[int, int, str]]:
    number = {text: row for row, text in enumerate(texts)}
    ties = ((row, number.get(inverse_of(text))) for text, row in number.items())
    return {(min(a, b), max(a, b), "inverse") for a, b in ties if b is not None}


def _detect_ties(triples: Triples, n_relations: int) -> list[tuple[int, int, str]]:
    n = len(triples)
    codes, n_codes = _ends(np.concatenate([triples.head, triples.tail]), np.concatenate([triples.tail, triples.head]))
    shape, ones = (n_relations, n_codes), np.ones(n, dtype=np.int64)
    forward = sparse.csr_array((ones, (triples.relation, codes[:n])), shape)
    backward = sparse.csr_array((ones, (triples.relation, codes[n:])), shape)
    size = np.bincount(triples.relation, minlength=n_relations)
    ties = []
    for name, other in (("equal", forward), ("inverse", backward)):
        shared = sparse.triu(forward @ other.T, k=1 if name == "equal" else 0).tocoo()
        share = shared.data / np.maximum(size[shared.row], size[shared.col])
        for k in np.flatnonzero((shared.data >= MIN_TRIPLES) & (share >= MIN_SHARE)):
            ties.append((int(shared.row[k]), int(shared.col[k]), name))
    return ties


def _facts(ties: set[tuple[int, int, str]], n_relations: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each relation: its group, whether it says the group's fact from the tail, whether direction matters not.

    Every relation has two readings, r and r + n for the inverse; what is tied is connected. Where both readings of a
    relation meet, it is symmetric.
    """
    n = n_relations
    pairs = [(a, b + n * (name == "inverse")) for a, b, name in ties]
    pairs += [((a + n) % (2 * n), (b + n) % (2 * n)) for a, b in pairs]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    links = sparse.coo_array((np.ones(len(rows)), (rows, columns)), (2 * n, 2 * n))
    component = csgraph.connected_components(links, directed=False)[1]
    forward, backward = component[:n], component[n:]
    return np.minimum(forward, backward), backward < forward, forward == backward


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


SPLITS = ("train", "valid", "test")


def split_triples(triples: Triples, valid_share: float, test_share: float, seed: int) -> np.ndarray:
    """The split of each triple as a row of `SPLITS`, shape (n_triples,).

    Parameters
    ----------
    valid_share, test_share : float
        In [0, 1): of all triples; fewer where entities with few triples allow no more.
    seed : int
    """
    n = len(triples)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    low, high = np.minimum(triples.head, triples.tail), np.maximum(triples.head, triples.tail)
    pair = np.unique(low * (high.max() + 1) + high, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(n)
    # order[i // 2] is the triple of the i-th end, and the first occurrence of an entity is its lowest i
    ends = np.stack([triples.head[order], triples.tail[order]], axis=1).ravel()
    anchors = np.concatenate([
        order[np.unique(ends, return_index=True)[1] // 2],
        order[np.unique(triples.relation[order], return_index=True)[1]],
    ])  # fmt: skip
    is_free = np.ones(pair.max() + 1, dtype=bool)
    is_free[pair[anchors]] = False
    size = np.bincount(pair)
    drawn = pair[order]
    drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]  # every pair once, in the random order
    drawn = drawn[is_free[drawn]]
    before = np.cumsum(size[drawn]) - size[drawn]  # triples drawn before each pair
    of_pair = np.zeros(len(size), dtype=np.int64)
    n_test, n_valid = round(test_share * n), round(valid_share * n)
    of_pair[drawn[before < n_test + n_valid]] = SPLITS.index("valid")
    of_pair[drawn[before < n_test]] = SPLITS.index("test")
    return of_pair[pair]
