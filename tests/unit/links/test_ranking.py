"""Filtered ranking equals independent computations, and metrics have intervals and chance."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.links.ranking import filtered_ranks, frequency_scorer, link_metrics, realistic_ranks

N_ENTITIES, N_RELATIONS = 30, 3


@pytest.fixture
def triples() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.unique(rng.integers(0, [N_ENTITIES, N_RELATIONS, N_ENTITIES], (300, 3)), axis=0)


@pytest.fixture
def scorer():
    """Scores of few different values, so that there are ties."""
    table = np.random.default_rng(1).integers(0, 6, (2, N_ENTITIES, N_RELATIONS, N_ENTITIES)).astype(np.float32)
    return lambda entities, relations, side: table[int(side == "tail"), entities, relations]


def slow_ranks(scorer, test: np.ndarray, true_triples: np.ndarray) -> np.ndarray:
    """One triple, one candidate at a time, by the definition."""
    said = set(map(tuple, true_triples.tolist()))
    ranks = []
    for h, r, t in test.tolist():
        pair = []
        for side, asked, answer in (("head", t, h), ("tail", h, t)):
            scores = scorer(np.array([asked]), np.array([r]), side)[0]
            others = [
                e for e in range(N_ENTITIES)
                if e != answer and ((e, r, t) if side == "head" else (h, r, e)) not in said
            ]  # fmt: skip
            best = 1 + sum(scores[e] > scores[answer] for e in others)
            worst = 1 + sum(scores[e] >= scores[answer] for e in others)
            pair.append((best + worst) / 2)
        ranks.append(pair)
    return np.array(ranks)


def test_ranks_equal_the_slow_computation(triples, scorer):
    ranks = filtered_ranks(scorer, triples[:60], triples, N_ENTITIES)
    assert np.array_equal(ranks, slow_ranks(scorer, triples[:60], triples))
    assert ranks.min() >= 1 and (ranks % 1 == 0.5).any()


def test_metrics_equal_pykeens_evaluator(triples, scorer):
    evaluation = pytest.importorskip("pykeen.evaluation", reason="PyKEEN is in an environment of its own")
    test = triples[:80]
    evaluator = evaluation.RankBasedEvaluator(filtered=True)
    for side, column in (("head", 0), ("tail", 2)):
        scores = scorer(test[:, 2 - column], test[:, 1], side)
        said = triples[:, None, [1, 2 - column]] == test[None, :, [1, 2 - column]]
        positive = np.zeros((len(test), N_ENTITIES), dtype=bool)
        query, row = said.all(axis=2).nonzero()
        positive[row, triples[query, column]] = True
        true = torch.from_numpy(scores[np.arange(len(test)), test[:, column]])[:, None]
        filtered = torch.from_numpy(np.where(positive, np.nan, scores))
        filtered[torch.arange(len(test)), torch.from_numpy(test[:, column])] = true[:, 0]
        evaluator.process_scores_(torch.from_numpy(test), target=side, true_scores=true, scores=filtered)
    theirs = evaluator.finalize()
    ranks = filtered_ranks(scorer, test, triples, N_ENTITIES)
    ours = {row.metric.rpartition("/")[2]: row.value for row in link_metrics(ranks, "g", N_ENTITIES, Bootstrap(10, 0))}
    assert ours["mrr"] == pytest.approx(theirs.get_metric("both.realistic.inverse_harmonic_mean_rank"), abs=1e-6)
    for k in (1, 3, 10):
        assert ours[f"hits_at_{k}"] == pytest.approx(theirs.get_metric(f"both.realistic.hits_at_{k}"), abs=1e-6)


def test_ties_are_in_the_middle_and_known_answers_take_no_part():
    scores = np.array([[1.0, 1.0, 1.0, 1.0], [3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    is_known = np.zeros((3, 4), dtype=bool)
    is_known[2, [0, 1]] = True
    assert realistic_ranks(scores, np.array([2, 1, 2]), is_known).tolist() == [2.5, 2, 1]


@given(st.integers(0, 5))
def test_ranks_follow_the_order_alone(seed):
    rng = np.random.default_rng(seed)
    scores, answers = rng.normal(size=(6, 9)), rng.integers(0, 9, 6)
    is_known = rng.random((6, 9)) < 0.3
    ranks = realistic_ranks(scores, answers, is_known)
    assert np.array_equal(ranks, realistic_ranks(np.exp(3 * scores), answers, is_known))
    reversed_ranks = realistic_ranks(-scores, answers, is_known)
    is_known[np.arange(6), answers] = True
    assert np.allclose(ranks + reversed_ranks, 2 + (~is_known).sum(axis=1))


def test_metrics_have_intervals_and_chance():
    ranks = np.array([[1, 3], [2, 11], [1, 1]], dtype=float)
    rows = {row.metric: row for row in link_metrics(ranks, "kg", 100, Bootstrap(200, 0))}
    assert rows["link_prediction/kg/mrr"].value == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 11 + 2) / 6)
    assert rows["link_prediction/kg/hits_at_1"].value == pytest.approx(3 / 6)
    assert rows["link_prediction/kg/hits_at_3"].value == pytest.approx(5 / 6)
    assert rows["link_prediction/kg/hits_at_10"].ci_low < 5 / 6 <= rows["link_prediction/kg/hits_at_10"].ci_high
    assert (
        rows["link_prediction/kg/mrr"].random == pytest.approx(sum(1 / np.arange(1, 101)) / 100)
        and rows["link_prediction/kg/mrr"].n == 3
    )


def test_frequency_baseline_counts_by_relation_and_side():
    score = frequency_scorer(np.array([[0, 0, 1], [2, 0, 1], [0, 1, 2]]), 3)
    assert score(np.array([2]), np.array([0]), "tail").tolist() == [[0, 2, 0]]
    assert score(np.array([2]), np.array([0]), "head").tolist() == [[1, 0, 1]]
