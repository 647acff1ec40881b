"""Which triples a step learns from, and how they are shown: a function of seed, step and the images of the batch.

Triples about images are drawn among those of the images in the batch. So an image is encoded once for its pair and its
triples, and pairs that balancing leaves out do not come back through the graph.
"""

from dataclasses import dataclass

import numpy as np

from evenclip.errors import InputError
from evenclip.model.multimodal_graph import MultiModalGraph

DRAWS = 6  # names the stream of random numbers for triples


@dataclass(frozen=True)
class TripleBatch:
    """t triples with the c different contents (texts or images) that they show.

    ``triples``, shape (t,): their numbers; ``as_image``, (2, t): whether head and tail are shown as images;
    ``contents``, (c,): sorted numbers from `MultiModalGraph.content`; ``entities``, (c,): an entity that each content
    stands for, which may occur twice, as text and as image; ``head`` and ``tail``, (t,): rows of ``contents``;
    ``relation``, (t,).
    """

    triples: np.ndarray
    as_image: np.ndarray
    contents: np.ndarray
    entities: np.ndarray
    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray


class TripleBatches:
    """Draws the triples of each step.

    Parameters
    ----------
    graph : MultiModalGraph
    n_triples : int
        Triples in a step, if there are enough.
    image_share : float
        Share of them, in [0, 1], that are about images of the batch.
    seed : int
    """

    def __init__(self, graph: MultiModalGraph, n_triples: int, image_share: float, seed: int):
        self._graph, self._n, self._n_image, self._seed = graph, n_triples, round(image_share * n_triples), seed
        ends = np.stack([graph.head, graph.tail])
        has_text, particular = graph.entity_text[ends] >= 0, graph.is_particular[ends]
        self._general = np.flatnonzero(has_text.all(axis=0) & ~particular.any(axis=0))
        pair, triple = graph.entity_pair[ends].ravel(), np.tile(np.arange(len(graph.head)), 2)
        tied = np.unique(np.stack([pair, triple])[:, pair >= 0], axis=1)  # sorted by pair, both ends of a pair once
        self._tied, self._n_pairs = tied[1], int(pair.max(initial=-1)) + 1
        self._starts = np.searchsorted(tied[0], np.arange(self._n_pairs + 1))
        if not len(self._tied) and not len(self._general):
            what = "no triple is about a training image, and none is of texts alone"
            raise InputError(what, "--graph", "build the graph with --data of the training, or add a source of texts")

    def at(self, position: int, rows: np.ndarray) -> TripleBatch | None:
        """The triples of step ``position``, whose pairs are ``rows``; None if there are none."""
        rng = np.random.default_rng([self._seed, position, DRAWS])
        rows = np.unique(rows)
        about = self._about(rows)
        about = rng.choice(about, min(self._n_image, len(about)), replace=False)
        as_image, fits = self._modalities(about, rows, rng)
        about, as_image = about[fits], as_image[:, fits]
        n_general = min(self._n - len(about), len(self._general))
        general = rng.choice(self._general, n_general, replace=False)
        triples = np.concatenate([about, general])
        if not len(triples):
            return None
        return self._batch(triples, np.pad(as_image, ((0, 0), (0, n_general))))

    def _about(self, rows: np.ndarray) -> np.ndarray:
        """The triples about the images of the pairs ``rows``, each once."""
        rows = rows[rows < self._n_pairs]
        first, count = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.unique(self._tied[np.repeat(first, count) + within])

    def _modalities(self, triples: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Whether head and tail are shown as images, shape (2, t), and which triples can be shown at all, shape (t,).

        At least one of the two is an image: "circle, left of, square" is true of one image, not in general. Two
        entities that look alike are never both shown as images: an image has no relation to itself.
        """
        graph, ends = self._graph, np.stack([self._graph.head[triples], self._graph.tail[triples]])
        has_image, has_text = np.isin(graph.entity_pair[ends], rows), graph.entity_text[ends] >= 0
        choices = np.array([[True, True], [True, False], [False, True]])  # (3, 2): head, tail
        possible = np.where(choices[:, :, None], has_image, has_text).all(axis=1)  # (3, t)
        possible[0] &= graph.looks_like[ends[0]] != graph.looks_like[ends[1]]
        chosen = np.where(possible, rng.random(possible.shape), -1).argmax(axis=0)
        return choices[chosen].T, possible.any(axis=0)

    def _batch(self, triples: np.ndarray, as_image: np.ndarray) -> TripleBatch:
        ends = np.stack([self._graph.head[triples], self._graph.tail[triples]])
        contents_of_ends = self._graph.content(ends, as_image)
        contents, first, row = np.unique(contents_of_ends, return_index=True, return_inverse=True)
        head, tail = row.reshape(contents_of_ends.shape)
        entities, relation = ends.ravel()[first], self._graph.relation[triples]
        return TripleBatch(triples, as_image, contents, entities, head, relation, tail)


def positions(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The position of each of ``values`` in ``among``, which contains them all; the first one of repeated values."""
    order = np.argsort(among, kind="stable")
    return order[np.searchsorted(among[order], values)]


NEIGHBOURS = 7  # names the stream of random numbers for neighbours


@dataclass(frozen=True)
class Neighbourhood:
    """A part of the graph around some entities.

    ``nodes``, shape (n,): entities, those asked for first; edges of ``relation`` from ``source`` to ``target``, rows of
    ``nodes``; ``sign`` of an edge: 1 for the triple (source, relation, target), -1 for (target, relation, source).
    """

    nodes: np.ndarray
    source: np.ndarray
    target: np.ndarray
    relation: np.ndarray
    sign: np.ndarray

    def signatures(self, entity_text: np.ndarray) -> np.ndarray:
        """A number for each node, shape (n,): equal for equal neighbours by equal relations, 0 without neighbours.

        Parameters
        ----------
        entity_text : ndarray of int, shape (E,)
            The text of each entity: neighbours with equal texts count as equal.
        """
        edge = (self.relation * 2 + (self.sign > 0)) * (entity_text.max() + 1) + entity_text[self.nodes[self.source]]
        mixed = (edge.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # a sum of hashes, as
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)  # the order of edges must not matter
        signatures = np.zeros(len(self.nodes), np.uint64)
        np.add.at(signatures, self.target, mixed | np.uint64(1))
        return signatures


class NeighbourSampler:
    """Draws up to ``n_each`` neighbours of each entity, among those that have text."""

    def __init__(self, graph: MultiModalGraph, n_each: int, seed: int):
        self._n_each, self._seed = n_each, seed
        target, source = np.concatenate([graph.tail, graph.head]), np.concatenate([graph.head, graph.tail])
        sign = np.repeat([1, -1], len(graph.head))
        order = np.argsort(target, kind="stable")
        order = order[(graph.entity_text[source] >= 0)[order] & (target != source)[order]]
        self._source, self._sign, self._relation = source[order], sign[order], np.tile(graph.relation, 2)[order]
        self._starts = np.searchsorted(target[order], np.arange(len(graph.entity_text) + 1))

    def around(self, entities: np.ndarray, position: int) -> Neighbourhood:
        """The neighbourhood of the different ``entities`` at step ``position``."""
        edges, target = self._draw(entities, np.random.default_rng([self._seed, position, NEIGHBOURS]))
        nodes = np.concatenate([entities, np.setdiff1d(self._source[edges], entities)])
        source, target = positions(self._source[edges], nodes), positions(target, nodes)
        return Neighbourhood(nodes, source, target, self._relation[edges], self._sign[edges])

    def _draw(self, entities: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Different edges into ``entities``, at most ``n_each`` for each, and the entity that each edge leads to."""
        first, count = self._starts[entities], self._starts[entities + 1] - self._starts[entities]
        drawn = (rng.random((len(entities), self._n_each)) * count[:, None]).astype(
            np.int64
        )  # repeats are dropped below
        drawn[count <= self._n_each] = np.arange(self._n_each)
        valid = drawn < count[:, None]
        edges, target = (first[:, None] + drawn)[valid], np.broadcast_to(entities[:, None], drawn.shape)[valid]
        edges, once = np.unique(edges, return_index=True)
        return edges, target[once]
