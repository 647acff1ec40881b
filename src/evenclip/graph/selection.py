"""Selection of triples: drop redundant ones and those far from the captions, and split the rest.

Redundant triples would leak from train into valid and test (Akrami et al. 2020). They are duplicates, and triples
implied by an earlier one whose relation is inverse, symmetric or equal. Such relations are known from the vocabulary
(`relations.tsv`), or detected: two relations are tied if they share at least 80 % of the entity pairs of each.
"""

import os
import re
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from evenclip.data.shards import read_pairs
from evenclip.graph.linking import normal_form, singular
from evenclip.graph.tables import Entities, Triples, inverse_of

MIN_SHARE = 0.8  # smallest share of common pairs for two relations to be tied
MIN_TRIPLES = 10  # fewer common pairs are no evidence
MAX_WORDS = 4  # longer names, such as sentences, are not looked up in captions
SPLITS = ("train", "valid", "test")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Redundancy:
    """Masks of redundant triples, shape (n,), and the relations detected to be tied.

    Attributes
    ----------
    loop, duplicate, mirrored : ndarray of bool
        Triples with equal head and tail; equal to an earlier one; implied by an earlier one of a tied relation.
    detected : list of (int, int, "equal" | "inverse")
        Relations tied by their triples and not by the vocabulary; a symmetric relation is its own inverse.
    """

    loop: np.ndarray
    duplicate: np.ndarray
    mirrored: np.ndarray
    detected: list[tuple[int, int, str]]

    @property
    def kept(self) -> np.ndarray:
        """Mask of the triples that are not redundant, shape (n,) bool."""
        return ~(self.loop | self.duplicate | self.mirrored)


def find_redundant(triples: Triples, texts: list[str]) -> Redundancy:
    """Find the redundant triples.

    Parameters
    ----------
    triples : Triples
        In order of precedence: of triples that say the same, the first is kept.
    texts : list of str
        Texts of the relations, by number.
    """
    loop = triples.head == triples.tail
    duplicate = ~loop & ~_is_first(triples.relation, *_pair_codes(triples.head, triples.tail))
    distinct = np.flatnonzero(~(loop | duplicate))
    candidates = triples.where(distinct)
    listed = _ties_of_vocabulary(texts)
    detected = [tie for tie in _detect_ties(candidates, len(texts)) if tie not in listed]
    group, is_inverted, is_symmetric = _groups_of_relations(listed | set(detected), len(texts))
    exchange = is_inverted[candidates.relation] | (
        is_symmetric[candidates.relation] & (candidates.head > candidates.tail)
    )
    head = np.where(exchange, candidates.tail, candidates.head)
    tail = np.where(exchange, candidates.head, candidates.tail)
    mirrored = np.zeros(len(triples), dtype=bool)
    mirrored[distinct] = ~_is_first(group[candidates.relation], *_pair_codes(head, tail))
    return Redundancy(loop, duplicate, mirrored, detected)


def _pair_codes(head: np.ndarray, tail: np.ndarray) -> tuple[np.ndarray, int]:
    """Code of each triple's (head, tail) pair, shape (n,), and the number of distinct codes."""
    if len(head) == 0:
        return head, 1
    width = int(max(head.max(), tail.max())) + 1
    values, codes = np.unique(head * width + tail, return_inverse=True)
    return codes, len(values)


def _is_first(relation: np.ndarray, codes: np.ndarray, n_codes: int) -> np.ndarray:
    """Whether each (relation, pair code) is its first occurrence, shape (n,) bool."""
    first = np.zeros(len(relation), dtype=bool)
    first[np.unique(relation * n_codes + codes, return_index=True)[1]] = True
    return first


def _ties_of_vocabulary(texts: list[str]) -> set[tuple[int, int, str]]:
    number = {text: row for row, text in enumerate(texts)}
    ties = ((row, number.get(inverse_of(text))) for text, row in number.items())
    return {(min(a, b), max(a, b), "inverse") for a, b in ties if b is not None}


def _detect_ties(triples: Triples, n_relations: int) -> list[tuple[int, int, str]]:
    """Pairs of relations that share most entity pairs, in equal order ("equal") or reversed ("inverse")."""
    n = len(triples)
    heads_and_tails = np.concatenate([triples.head, triples.tail]), np.concatenate([triples.tail, triples.head])
    codes, n_codes = _pair_codes(*heads_and_tails)
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


def _groups_of_relations(
    ties: set[tuple[int, int, str]], n_relations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each relation: its group of tied relations, whether it is inverted in the group, whether it is symmetric.

    Relation r is node r of a graph, and its inverse is node r + n. Tied relations are connected. A relation
    connected with its own inverse is symmetric.
    """
    n = n_relations
    edges = [(a, b + n * (name == "inverse")) for a, b, name in ties]
    edges += [((a + n) % (2 * n), (b + n) % (2 * n)) for a, b in edges]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    links = sparse.coo_array((np.ones(len(rows)), (rows, columns)), (2 * n, 2 * n))
    component = csgraph.connected_components(links, directed=False)[1]
    forward, backward = component[:n], component[n:]
    return np.minimum(forward, backward), backward < forward, forward == backward


def mentioned_in_captions(entities: Entities, data: str | os.PathLike) -> np.ndarray:
    """Mask of entities that captions of a data folder mention or its pictures show, shape (n_entities,) bool."""
    captions = read_pairs(data, ["captions"]).column("captions").combine_chunks().flatten().to_pylist()
    names = [" ".join(_WORD.findall(normal_form(name))) for name in entities.names]
    mentioned = _mentioned_names(captions, set(names) - {""})
    return np.array(
        [key is not None or name in mentioned for name, key in zip(names, entities.image_keys, strict=True)]
    )


def _mentioned_names(captions: list[str], names: set[str]) -> set[str]:
    """Names that occur in some caption, in the singular or plural."""
    first_words = {name.split()[0] for name in names}
    mentioned: set[str] = set()
    for caption in captions:
        words = _WORD.findall(caption.lower())
        for start, word in enumerate(words):
            for end in range(start + 1, min(start + MAX_WORDS, len(words)) + 1 if word in first_words else start + 2):
                phrase = " ".join(words[start:end])
                mentioned |= {phrase, singular(phrase, names)} & names
    return mentioned


def within_hops(triples: Triples, start: np.ndarray, hops: int) -> np.ndarray:
    """Mask of triples within ``hops`` of the entities in the mask ``start``, shape (n_triples,) bool.

    With 0 hops both ends must be in ``start``; with k hops one end must be at most k - 1 steps from ``start``.
    """
    near = start.copy()
    for _ in range(hops - 1):
        touched = near[triples.head] | near[triples.tail]
        near[triples.head[touched]] = near[triples.tail[touched]] = True
    return near[triples.head] & near[triples.tail] if hops == 0 else near[triples.head] | near[triples.tail]


def split_triples(triples: Triples, valid_share: float, test_share: float, seed: int) -> np.ndarray:
    """Split triples at random. Train has every entity and relation; all triples of an entity pair share a split.

    Parameters
    ----------
    triples : Triples
    valid_share, test_share : float
        Shares of all triples, in [0, 1); the splits are smaller if train would otherwise lose an entity or relation.
    seed : int

    Returns
    -------
    ndarray of int64, shape (n_triples,)
        Row of `SPLITS`.
    """
    n = len(triples)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    low, high = np.minimum(triples.head, triples.tail), np.maximum(triples.head, triples.tail)
    pair = np.unique(low * (high.max() + 1) + high, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(n)
    # order[i // 2] is the triple of the i-th end; an entity first occurs at its lowest i
    ends = np.stack([triples.head[order], triples.tail[order]], axis=1).ravel()
    anchors = np.concatenate([
        order[np.unique(ends, return_index=True)[1] // 2],
        order[np.unique(triples.relation[order], return_index=True)[1]],
    ])  # fmt: skip
    is_free = np.ones(pair.max() + 1, dtype=bool)
    is_free[pair[anchors]] = False
    size = np.bincount(pair)
    drawn = pair[order]
    drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]  # each pair once, in random order
    drawn = drawn[is_free[drawn]]
    before = np.cumsum(size[drawn]) - size[drawn]  # triples drawn before each pair
    split_of_pair = np.zeros(len(size), dtype=np.int64)
    n_test, n_valid = round(test_share * n), round(valid_share * n)
    split_of_pair[drawn[before < n_test + n_valid]] = SPLITS.index("valid")
    split_of_pair[drawn[before < n_test]] = SPLITS.index("test")
    return split_of_pair[pair]
