"""Weights of mined negatives: plain InfoNCE as the limit, the formula, bounds, constant sums and fair shares."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenclip.train.methods.ahnm.mining import Mining, negative_weights


def example(n: int, c: int, seed: int = 0, allowed_share: float = 0.8) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    allowed = torch.rand(n, c, generator=rng) < allowed_share
    allowed[:, 0] = True
    logits, positive = 5 * torch.randn(n, c, generator=rng), 5 * torch.randn(n, generator=rng)
    return {"logits": logits, "positive": positive, "allowed": allowed, "n_plain": c}


def groups_of(c: int, seed: int) -> torch.Tensor:
    """One contrast: a third inside, a sixth outside, half in neither; shape (1, 2, c)."""
    group = torch.randint(6, (c,), generator=torch.Generator().manual_seed(seed))
    return torch.stack([group < 2, group == 2])[None]


def test_without_sharpness_every_allowed_negative_has_weight_one():
    inputs = example(20, 50)
    assert torch.equal(negative_weights(**inputs, mining=Mining(0, 0, 10)), inputs["allowed"].float())


minings = st.builds(Mining, sharpness=st.floats(0, 2), focus=st.floats(0, 3), max_weight=st.floats(1, 20))


@given(minings, st.integers(1, 40), st.integers(0, 99))
def test_rows_sum_to_the_plain_total_within_bounds(mining: Mining, c: int, seed: int):
    inputs = example(8, c, seed)
    weight = negative_weights(**inputs, mining=mining)
    torch.testing.assert_close(weight.sum(1), inputs["allowed"].sum(1).float())
    assert torch.equal(weight > 0, inputs["allowed"])
    for row in weight:
        assert row[row > 0].max() / row[row > 0].min() <= mining.max_weight**2 * 1.001


def test_weights_are_the_formula():
    logits, positive = torch.tensor([[0.5, 1.0, -0.5]]), torch.tensor([2.0])
    mining = Mining(sharpness=0.7, focus=2.0, max_weight=100)
    weight = negative_weights(logits, positive, torch.ones(1, 3, dtype=torch.bool), 3, mining)[0].numpy()
    everything = np.exp([2.0, 0.5, 1.0, -0.5])
    p = everything[1:] / everything.sum()
    raw = (everything[1:] * (1 - p) ** 2) ** 0.7
    np.testing.assert_allclose(weight, 3 * raw / raw.sum(), rtol=1e-5)


def test_the_focal_factor_lowers_negatives_the_model_is_sure_of():
    logits = torch.tensor([[9.0, 1.0, 0.0]])
    plain = (logits, torch.tensor([1.0]), torch.ones(1, 3, dtype=torch.bool), 3)
    sharp, focal = (negative_weights(*plain, Mining(0.2, focus, 100)) for focus in (0.0, 2.0))
    assert sharp[0, 0] > sharp[0, 1] and focal[0, 0] < focal[0, 1]


@given(st.integers(0, 99))
def test_each_group_keeps_its_share_of_the_plain_negatives(seed: int):
    inputs, member = example(8, 60, seed), groups_of(60, seed)
    weight = negative_weights(**inputs, mining=Mining(0.5, 1.0, 1e6), member=member)
    torch.testing.assert_close(weight.sum(1), inputs["allowed"].sum(1).float())
    mass, plain = weight @ member[0].T.float(), inputs["allowed"].float() @ member[0].T.float()
    both = (mass > 0).all(dim=1)
    expected = plain / plain.sum(1, keepdim=True) * mass.sum(1, keepdim=True)
    torch.testing.assert_close(mass[both], expected[both], rtol=1e-4, atol=1e-4)
    assert both.any()


def test_texts_from_outside_the_batch_do_not_change_what_is_fair():
    inputs, member = example(4, 60), groups_of(60, 3)
    weight = negative_weights(**inputs | {"n_plain": 20}, mining=Mining(0.5, 1.0, 1e6), member=member)
    mass, plain = (x @ member[0].T.float() for x in (weight, inputs["allowed"] * (torch.arange(60) < 20).float()))
    torch.testing.assert_close(mass[:, 0] / mass.sum(1), plain[:, 0] / plain.sum(1))


def test_fair_shares_hold_for_overlapping_contrasts():
    inputs = example(8, 200, 1)
    member = torch.cat([groups_of(200, 1), groups_of(200, 2)])
    weight = negative_weights(**inputs, mining=Mining(0.5, 1.0, 1e6), member=member)
    for contrast in member:
        mass, plain = weight @ contrast.T.float(), inputs["allowed"].float() @ contrast.T.float()
        torch.testing.assert_close(
            mass / mass.sum(1, keepdim=True), plain / plain.sum(1, keepdim=True), atol=0.01, rtol=0
        )


def test_fair_shares_change_no_weight_by_more_than_the_bound():
    """Two groups of 20, one nine times as heavy after clipping: equal shares would need a factor of five."""
    logits = torch.tensor([[4.0] * 20 + [0.0] * 20])
    member = torch.zeros(1, 2, 40, dtype=torch.bool)
    member[0, 0, :20] = member[0, 1, 20:] = True
    everything = torch.ones(1, 40, dtype=torch.bool)
    weight = negative_weights(logits, torch.zeros(1), everything, 40, Mining(1.0, 0.0, 3.0), member)
    assert (weight[0, 0] / weight[0, -1]).item() == pytest.approx(9 * (5 / 9) / 3, rel=1e-5)


def test_a_group_without_candidates_changes_nothing():
    inputs, member = example(4, 30), groups_of(30, 0)
    alone = torch.stack([member[0, 0], torch.zeros(30, dtype=torch.bool)])[None]
    mining = Mining(0.5, 1.0, 10)
    torch.testing.assert_close(negative_weights(**inputs, mining=mining, member=alone),
                               negative_weights(**inputs, mining=mining))  # fmt: skip


def test_without_allowed_negatives_all_weights_are_zero():
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    weight = negative_weights(torch.zeros(2, 5), torch.zeros(2), nothing, 5, Mining(1, 1, 10))
    assert torch.equal(weight, torch.zeros(2, 5))


def test_the_rest_of_the_weight_is_spread_evenly():
    inputs = example(8, 40)
    mined, half, none = (negative_weights(**inputs, mining=Mining(0.5, 1, 9, strength)) for strength in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (mined + inputs["allowed"].float()) / 2)
    assert torch.equal(none, inputs["allowed"].float())
