"""The neighbours of some entities in the training graph, drawn anew at each step; reads and writes nothing."""

from dataclasses import dataclass

import numpy as np

from evenclip.model.shown_graph import ShownGraph
from evenclip.train.triple_batches import places

NEIGHBOURS = 7  # names the stream of random numbers that neighbours are drawn from


@dataclass(frozen=True)
class Neighbourhood:
    """``nodes`` (n,) entities, the seeds first; edges of ``relation`` from ``source`` to ``target``, rows of ``nodes``.

    ``sign`` of an edge is 1 where the triple says (source, relation, target), -1 where (target, relation, source).
    """

    nodes: np.ndarray
    source: np.ndarray
    target: np.ndarray
    relation: np.ndarray
    sign: np.ndarray

    def signatures(self, entity_text: np.ndarray) -> np.ndarray:
        """A number for each node, shape (n,): equal for the same neighbours by the same relations, 0 for none.

        Parameters
        ----------
        entity_text : ndarray of int, shape (E,)
            The text of each entity: neighbours of one text are the same neighbour.
        """
        edge = (self.relation * 2 + (self.sign > 0)) * (entity_text.max() + 1) + entity_text[self.nodes[self.source]]
        mixed = (edge.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # the edges' order must not
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)  # matter: a sum of hashes
        signatures = np.zeros(len(self.nodes), np.uint64)
        np.add.at(signatures, self.target, mixed | np.uint64(1))
        return signatures


class NeighbourSampler:
    """Draws up to ``n_each`` neighbours of each entity, then theirs, ``n_hops`` times; only entities that have text."""

    def __init__(self, graph: ShownGraph, n_each: int, n_hops: int, seed: int):
        self._n_each, self._n_hops, self._seed = n_each, n_hops, seed
        to, of = np.concatenate([graph.tail, graph.head]), np.concatenate([graph.head, graph.tail])
        sign = np.repeat([1, -1], len(graph.head))
        order = np.argsort(to, kind="stable")
        order = order[(graph.entity_text[of] >= 0)[order] & (to != of)[order]]
        self._of, self._sign, self._relation = of[order], sign[order], np.tile(graph.relation, 2)[order]
        self._starts = np.searchsorted(to[order], np.arange(len(graph.entity_text) + 1))

    def around(self, seeds: np.ndarray, position: int) -> Neighbourhood:
        """The neighbourhood of the different entities ``seeds`` at the step ``position``."""
        rng = np.random.default_rng([self._seed, position, NEIGHBOURS])
        nodes, frontier, edges, targets = seeds, seeds, [], []
        for _ in range(self._n_hops):
            drawn, of = self._draw(frontier, rng)
            edges.append(drawn)
            targets.append(of)
            frontier = np.setdiff1d(self._of[drawn], nodes)
            nodes = np.concatenate([nodes, frontier])
        drawn, target = np.concatenate(edges), np.concatenate(targets)
        source, target = places(self._of[drawn], nodes), places(target, nodes)
        return Neighbourhood(nodes, source, target, self._relation[drawn], self._sign[drawn])

    def _draw(self, entities: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Edges into ``entities``, at most ``n_each`` for each and none twice, and the entity that each leads to."""
        first, n_each = self._starts[entities], self._starts[entities + 1] - self._starts[entities]
        place = (rng.random((len(entities), self._n_each)) * n_each[:, None]).astype(np.int64)  # may repeat: see `once`
        place[n_each <= self._n_each] = np.arange(self._n_each)
        valid = place < n_each[:, None]
        edges, of = (first[:, None] + place)[valid], np.broadcast_to(entities[:, None], place.shape)[valid]
        edges, once = np.unique(edges, return_index=True)
        return edges, of[once]
