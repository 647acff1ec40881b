"""The text scorer of `benchmarks/link_prediction.py` learns what texts tell of entities."""

import importlib.util

import numpy as np
import torch

from evenclip.links.ranking import filtered_ranks, frequency_scorer
from support.project import ROOT


def named_graph() -> tuple[list[str], np.ndarray]:
    """Each "red thing" is a thing and has the colour red; who is asked for the 20 unseen ones must read."""
    colors = ["red", "green", "blue", "black", "white", "brown", "pink", "grey"]
    things = ["dog", "horse", "table", "window", "button", "carpet", "yacht", "melon", "violin", "jumper"]
    texts = [*colors, *things, *(f"{color} {thing}" for color in colors for thing in things)]
    rows = [(18 + 10 * c + t, k, [c, 8 + t][k]) for c in range(8) for t in range(10) for k in range(2)]
    return texts, np.array(rows)


def test_text_scorer_ranks_entities_unseen_in_training():
    texts, rows = named_graph()
    path = ROOT / "benchmarks/contestants/text_scorer.py"
    spec = importlib.util.spec_from_file_location("text_scorer", path)
    text_scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(text_scorer)
    is_test = rows[:, 0] % 4 == 3
    options = text_scorer.TextScorerOptions(width=32, epochs=25, batch_size=32, n_drawn=16, lr=2e-2)
    model = text_scorer.train_text_scorer(texts, rows[~is_test], 2, options, seed=0)
    ranks = filtered_ranks(model.scorer(), rows[is_test], rows, len(texts))
    frequency = filtered_ranks(frequency_scorer(rows[~is_test], len(texts)), rows[is_test], rows, len(texts))
    assert (1 / ranks[:, 1]).mean() > 0.9 > 0.5 > (1 / frequency[:, 1]).mean()
    again = text_scorer.train_text_scorer(texts, rows[~is_test], 2, options, seed=0)
    assert torch.equal(model.buckets.weight, again.buckets.weight)
