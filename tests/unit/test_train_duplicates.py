"""Texts that say the same are masked from each other, and nothing else is."""

from types import SimpleNamespace

import numpy as np
import torch
from test_train_neighbours import unit_rows

from evenclip.train.batches import Batch
from evenclip.train.duplicates import Duplicates, SameTexts, caption_kinds


def test_captions_are_of_one_kind_when_their_tokens_are():
    first, second, third = caption_kinds(torch.tensor([[1, 5, 9], [1, 6, 9], [1, 5, 9]]))
    assert first == third != second


def test_equal_captions_and_near_texts_are_the_same_in_both_directions_but_nobody_as_itself():
    text = torch.from_numpy(unit_rows(8, 16, rank=16))
    text[1] = torch.nn.functional.normalize(text[0] + 1e-3, dim=0)
    same = SameTexts(torch.tensor([0, 1, 2, 3, 4, 5, 5, 6]), text, 0.98).within(slice(0, 8))
    assert torch.nonzero(same).tolist() == [[0, 1], [1, 0], [5, 6], [6, 5]]


def test_rows_are_those_of_the_whole():
    text, kind = torch.from_numpy(unit_rows(8, 16)), torch.arange(8) // 2
    same = SameTexts(kind, text, 0.5)
    assert torch.equal(same.within(slice(3, 6)), same.within(slice(0, 8))[3:6])


def test_a_model_that_has_learnt_nothing_does_not_see_all_texts_as_the_same():
    """Untrained towers give features within a narrow cone."""
    text = torch.nn.functional.normalize(10 + torch.from_numpy(unit_rows(64, 16, rank=16)), dim=1)
    assert (text @ text.T).min() > 0.98
    assert not SameTexts(torch.arange(64), text, 0.98).within(slice(0, 64)).any()


def test_texts_from_outside_are_compared_the_same_way():
    text, kind = torch.from_numpy(unit_rows(8, 16)), torch.arange(8)
    same = SameTexts(kind, text, 0.999)
    found = same.among(slice(0, 8), torch.tensor([3, 99, 98]), torch.cat([text[[0, 5]], -text[:1]]))
    assert torch.nonzero(found).tolist() == [[0, 0], [3, 0], [5, 1]]


def test_the_adjustment_masks_by_the_captions_that_are_shown_and_counts():
    pairs = SimpleNamespace(
        tokens=torch.tensor([[1, 9], [2, 9]]), captions_of=lambda batch: np.where(batch.draws < 0.5, 0, 1)
    )
    batch = Batch(np.arange(3), np.array([0.1, 0.9, 0.2]))
    step = SimpleNamespace(batch=batch, text=torch.from_numpy(unit_rows(3, 16, rank=16)))
    adjustment = Duplicates(pairs, 2.0).adjust(step)
    expected = torch.zeros(3, 3).masked_fill(torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]]).bool(), -torch.inf)
    assert torch.equal(adjustment.log_weight(slice(0, 3)), expected)
    assert torch.equal(adjustment.log_weight_text(slice(1, 3)), expected[1:])
    assert adjustment.logged()["negatives_masked"] == 3 / 12
