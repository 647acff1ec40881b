"""The losses of Knowledge-CLIP against plain loops in double precision, and their gradients by finite differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from evenclip.train.methods.knowledge.masked_contrast import distillation, masked_cross_entropy, symmetric_contrast


def slow_cross_entropy(logits: list[list[float]], target: list[int], masked: list[list[bool]]) -> float:
    total = 0.0
    for row, right, hidden in zip(logits, target, masked, strict=True):
        kept = [value for j, value in enumerate(row) if j == right or not hidden[j]]
        total -= row[right] - math.log(sum(math.exp(value) for value in kept))
    return total / len(logits)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**20))
def test_masked_cross_entropy_leaves_the_masked_out_of_the_sum(n: int, m: int, seed: int):
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, m, generator=g, dtype=torch.float64)
    target, masked = torch.randint(0, m, (n,), generator=g), torch.rand(n, m, generator=g) < 0.5
    expected = slow_cross_entropy(logits.tolist(), target.tolist(), masked.tolist())
    assert masked_cross_entropy(logits, target, masked).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_masks_by_hand():
    logits = torch.tensor([[2.0, 1.0, 5.0]])
    target = torch.tensor([0])
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert masked_cross_entropy(logits, target, nothing) > 3  # the third looks better
    third = torch.tensor([[False, False, True]])
    assert masked_cross_entropy(logits, target, third).item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)
    every = torch.ones(1, 3, dtype=torch.bool)  # the target itself always counts
    assert masked_cross_entropy(logits, target, every).item() == 0


def test_the_symmetric_contrast_is_the_mean_of_both_directions():
    torch.manual_seed(0)
    first, second = (F.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1) for _ in range(2))
    masked = torch.rand(5, 5) < 0.3
    logits = (7 * first @ second.T).tolist()
    transposed, masked_transposed = list(map(list, zip(*logits, strict=True))), masked.T.tolist()
    expected = slow_cross_entropy(logits, range(5), masked.tolist())
    expected = (expected + slow_cross_entropy(transposed, range(5), masked_transposed)) / 2
    assert symmetric_contrast(first, second, torch.tensor(7.0), masked).item() == pytest.approx(expected, rel=1e-5)


def test_without_masks_the_contrast_is_open_clips():
    from open_clip.loss import ClipLoss

    torch.manual_seed(1)
    first, second = (F.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    scale, nothing = torch.tensor(9.0), torch.zeros(6, 6, dtype=torch.bool)
    torch.testing.assert_close(symmetric_contrast(first, second, scale, nothing), ClipLoss()(first, second, scale))


def test_distillation_is_the_mean_divergence_both_ways():
    torch.manual_seed(2)
    student, teacher = torch.randn(4, 4, dtype=torch.float64) * 2, torch.randn(4, 4, dtype=torch.float64) * 2

    def slow(given: torch.Tensor, by: torch.Tensor) -> float:
        total = 0.0
        for q, p in zip(given.softmax(1).tolist(), by.softmax(1).tolist(), strict=True):
            total += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
        return total / len(given)

    expected = (slow(student, teacher) + slow(student.T, teacher.T)) / 2
    assert distillation(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    assert distillation(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(3)
    student, teacher = (torch.randn(3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: distillation(s, teacher), student)
    distillation(student, teacher).backward()
    assert teacher.grad is None
    logits, target = torch.randn(4, 5, dtype=torch.float64, requires_grad=True), torch.tensor([0, 4, 2, 2])
    masked = torch.rand(4, 5) < 0.4
    assert torch.autograd.gradcheck(lambda x: masked_cross_entropy(x, target, masked), logits)


def test_permuting_rows_changes_nothing():
    torch.manual_seed(4)
    logits, target, masked = torch.randn(6, 4), torch.randint(0, 4, (6,)), torch.rand(6, 4) < 0.3
    order = torch.randperm(6)
    first = masked_cross_entropy(logits, target, masked)
    torch.testing.assert_close(masked_cross_entropy(logits[order], target[order], masked[order]), first)
