"""Which triples say nothing new: duplicates, and those that say an earlier one from the tail.

Relations are the same, or inverse to each other, by the vocabulary (`evenclip.graph.relations`) or by their triples:
where at least `MIN_SHARE` of either relation's triples are also the other's (as they are, or with head and tail
exchanged). That is the test of Akrami et al., "Realistic Re-evaluation of Knowledge Graph Completion Methods" (SIGMOD
2020, thresholds of 0.8), which finds the inverse leakage of FB15k and WN18 (Toutanova and Chen 2015). A redundant
triple is left out, the first that says it stays as its source has it: so both texts of a pair of relations live on.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from evenclip.graph.relations import inverse_of
from evenclip.graph.tables import Triples

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
