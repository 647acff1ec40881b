"""Filtered, realistic ranks of the true heads and tails of triples among all entities, and their metrics.

The realistic rank is the mean of the optimistic and the pessimistic rank, so a tie counts as its middle rank
(Berrendorf et al. 2020, as in PyKEEN). Filtered (Bordes et al. 2013) means that other true answers, of any split, are
left out of the ranking. Mean reciprocal rank (MRR) and Hits@k are means over both ends of every triple. Intervals come
from a bootstrap over triples.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.tables import MetricRow

HITS = (1, 3, 10)
BATCH = 256

Side = Literal["head", "tail"]
Scorer = Callable[[np.ndarray, np.ndarray, Side], np.ndarray]
"""Maps entities and relations, each of shape (n,), and the side to predict, to scores of shape (n, n_entities).

For "tail" the given entities are heads. Higher is better; scores are finite."""


def realistic_ranks(scores: np.ndarray, answers: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """Rank of each answer, counted from 1.

    Parameters
    ----------
    scores : ndarray of float, shape (n, n_entities)
    answers : ndarray of int, shape (n,)
    is_known : ndarray of bool, shape (n, n_entities)
        All true answers; the one to rank may be included.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    own = scores[np.arange(len(scores)), answers][:, None]
    is_rival = ~is_known
    is_rival[np.arange(len(scores)), answers] = False
    n_better = ((scores > own) & is_rival).sum(axis=1)
    n_equal = ((scores == own) & is_rival).sum(axis=1)
    return 1 + n_better + n_equal / 2


def filtered_ranks(scorer: Scorer, test: np.ndarray, true_triples: np.ndarray, n_entities: int) -> np.ndarray:
    """Ranks of the heads and the tails of test triples.

    Parameters
    ----------
    test : ndarray of int, shape (n, 3)
        Rows of head, relation, tail.
    true_triples : ndarray of int, shape (n_true, 3)
        All true triples, of every split.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Ranks of head and tail.
    """
    ranks = np.empty((len(test), 2))
    for column, side, asked in ((0, "head", 2), (1, "tail", 0)):
        answers = _answers(true_triples, asked, column * 2)
        for rows in _batches(len(test)):
            part = test[rows]
            is_known = np.zeros((len(part), n_entities), dtype=bool)
            for k, (entity, relation) in enumerate(part[:, [asked, 1]].tolist()):
                is_known[k, answers.get((entity, relation), [])] = True
            scores = scorer(part[:, asked], part[:, 1], side)
            ranks[rows, column] = realistic_ranks(scores, part[:, column * 2], is_known)
    return ranks


def link_metrics(ranks: np.ndarray, name: str, n_entities: int, bootstrap: Bootstrap) -> list[MetricRow]:
    """Rows ``link_prediction/<name>/mrr`` and ``hits_at_<k>`` with intervals; `random` is that of random ranks.

    Parameters
    ----------
    ranks : ndarray, shape (n, 2)
    """
    columns = {"mrr": (1 / ranks).mean(axis=1), **{f"hits_at_{k}": (ranks <= k).mean(axis=1) for k in HITS}}
    chance = random_rank_metrics(np.array([n_entities]))
    means = bootstrap.means(np.stack(list(columns.values()), axis=1))
    return [
        means.row(f"link_prediction/{name}/{metric}", lambda m, k=k: m[..., 0, k], len(ranks), random=chance[metric])
        for k, metric in enumerate(columns)
    ]


def random_rank_metrics(n_answers: np.ndarray) -> dict[str, float]:
    """Expected metrics of uniformly random ranks among ``n_answers``, shape (n,)."""
    sizes, times = np.unique(n_answers, return_counts=True)
    reciprocal = np.cumsum(1 / np.arange(1, int(sizes.max()) + 1))[sizes.astype(int) - 1] / sizes
    expected = {"mrr": reciprocal, **{f"hits_at_{k}": np.minimum(k / sizes, 1) for k in HITS}}
    return {metric: float(values @ times / times.sum()) for metric, values in expected.items()}


def frequency_scorer(train: np.ndarray, n_entities: int) -> Scorer:
    """Baseline that scores answers by their frequency with the relation in train, whatever the other end.

    Negative entities in ``train``, shape (n, 3), are not counted.
    """
    tables = {}
    for column, side in ((0, "head"), (2, "tail")):
        inside = train[train[:, column] >= 0]
        tables[side] = np.unique(inside[:, 1] * n_entities + inside[:, column], return_counts=True)

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        codes, counts = tables[side]
        scores = np.zeros((len(relations), n_entities), np.float32)
        starts, ends = (np.searchsorted(codes, (relations + more) * n_entities) for more in (0, 1))
        for row, start, end in zip(scores, starts, ends, strict=True):
            row[codes[start:end] % n_entities] = counts[start:end]
        return scores

    return score


def _answers(true_triples: np.ndarray, asked: int, answer: int) -> dict[tuple[int, int], np.ndarray]:
    """Known answers by (given entity, relation)."""
    order = np.lexsort((true_triples[:, answer], true_triples[:, 1], true_triples[:, asked]))
    keys = true_triples[order][:, [asked, 1]]
    starts = np.flatnonzero(np.any(np.diff(keys, axis=0, prepend=-1), axis=1))
    groups = np.split(true_triples[order, answer], starts[1:])
    return {(entity, relation): group for (entity, relation), group in zip(keys[starts].tolist(), groups, strict=True)}


def _batches(n: int) -> Iterator[slice]:
    return (slice(start, start + BATCH) for start in range(0, n, BATCH))
