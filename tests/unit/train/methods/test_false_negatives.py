"""A text that is true of another picture is no negative of it, in both directions, and nothing else is masked."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evenclip.train.batches import Batch
from evenclip.train.known_positives import MaskedPositives
from evenclip.train.methods.simclip import caption_kinds
from evenclip.train.plugin import MethodContext

RED, SMALL, CROSS, NO = 1, 2, 3, 4
CAPTIONS = [[RED, CROSS], [SMALL, RED, CROSS], [NO, RED]]


def tokenizer(texts: list[str]) -> torch.Tensor:
    return torch.zeros(len(texts), 3, dtype=torch.int64)


def test_captions_are_of_one_kind_when_their_tokens_are():
    first, second, third = caption_kinds(torch.tensor([[1, 5, 9], [1, 6, 9], [1, 5, 9]]))
    assert first == third != second


def test_what_is_masked_follows_from_the_captions_that_are_shown():
    """Pair 0: a red cross. Pair 1: a small red cross, or no red. Pair 2: a red cross."""
    pairs = SimpleNamespace(
        keys=np.array(["a", "b", "c"]),
        tokens=torch.tensor([caption + [0] * (3 - len(caption)) for caption in CAPTIONS]),
        captions=np.array([0, 1, 2, 0]),
        starts=np.array([0, 1, 3, 4]),
        captions_of=lambda batch: np.where(batch.rows == 1, np.where(batch.draws < 0.5, 1, 2), 0),
    )
    context = MethodContext(None, SimpleNamespace(tokenizer=tokenizer), pairs, 0, None, torch.device("cpu"))
    batch = Batch(np.arange(3), np.array([0.1, 0.9, 0.2]))
    mask = MaskedPositives(context).adjust(SimpleNamespace(batch=batch))
    # "a red cross" is true of all three pictures, "no red" of its own alone
    expected = torch.zeros(3, 3).masked_fill(torch.tensor([[0, 0, 1], [1, 0, 1], [1, 0, 0]]).bool(), -torch.inf)
    assert torch.equal(mask.log_weight(slice(0, 3)), expected)
    assert torch.equal(mask.log_weight_text(slice(1, 3)), expected.T[1:])
    assert mask.logged()["negatives_masked"] == pytest.approx((4 + 2) / (6 + 4))
