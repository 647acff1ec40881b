"""Mined negatives: InfoNCE as the open end, the band, the top K, bounds, normalised rows and fair shares."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenclip.train.methods.ahnm.mining import Mining, mine

OPEN = Mining(low=0.0, high=1.0, top_k=None, sharpness=0.0, focus=0.0, max_weight=10.0)


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


def test_wide_open_every_negative_that_is_allowed_counts_one_exactly():
    found = example(20, 50)
    assert torch.equal(mine(**found, mining=OPEN), found["allowed"].float())


minings = st.builds(
    Mining,
    low=st.floats(0, 0.6),
    high=st.floats(0.7, 1),
    top_k=st.none() | st.integers(1, 20),
    sharpness=st.floats(0, 2),
    focus=st.floats(0, 3),
    max_weight=st.floats(1, 20),
)


@given(minings, st.integers(1, 40), st.integers(0, 99))
def test_rows_sum_to_their_total_within_bounds_and_nothing_forbidden_counts(mining: Mining, c: int, seed: int):
    found = example(8, c, seed)
    weight = mine(**found, mining=mining)
    torch.testing.assert_close(weight.sum(1), found["allowed"].sum(1).float())
    assert not weight[~found["allowed"]].any()
    for row in weight:
        assert row[row > 0].max() / row[row > 0].min() <= mining.max_weight**2 * 1.001
    n_kept = (weight > 0).sum(1)
    assert (n_kept >= 1).all() and (mining.top_k is None or (n_kept <= mining.top_k).all())


def test_the_band_is_made_of_percentiles_and_the_top_k_are_its_hardest():
    logits = torch.arange(100.0).flip(0)[None]  # column j is harder than all but j others
    plain = {"logits": logits, "positive": torch.zeros(1), "allowed": torch.ones(1, 100, dtype=torch.bool)}
    kept = mine(**plain, n_plain=100, mining=Mining(0.5, 0.9, None, 0, 0, 10))
    assert torch.nonzero(kept[0]).flatten().tolist() == list(range(10, 50))
    kept = mine(**plain, n_plain=100, mining=Mining(0.5, 0.9, 5, 0, 0, 10))
    assert torch.nonzero(kept[0]).flatten().tolist() == [10, 11, 12, 13, 14]


def test_difficulty_is_ranked_among_what_is_allowed():
    logits, allowed = torch.arange(8.0)[None], torch.tensor([[True] * 4 + [False] * 4])
    kept = mine(logits, torch.zeros(1), allowed, 8, Mining(0, 1, 1, 0, 0, 10))
    assert torch.nonzero(kept[0]).flatten().tolist() == [3]


def test_weights_are_the_formula():
    logits, positive = torch.tensor([[0.5, 1.0, -0.5]]), torch.tensor([2.0])
    mining = Mining(0, 1, None, sharpness=0.7, focus=2.0, max_weight=100)
    weight = mine(logits, positive, torch.ones(1, 3, dtype=torch.bool), 3, mining)[0].numpy()
    everything = np.exp([2.0, 0.5, 1.0, -0.5])
    p = everything[1:] / everything.sum()
    raw = (everything[1:] * (1 - p) ** 2) ** 0.7
    np.testing.assert_allclose(weight, 3 * raw / raw.sum(), rtol=1e-5)


def test_the_focal_factor_shrinks_the_negatives_that_the_model_is_sure_of():
    logits = torch.tensor([[9.0, 1.0, 0.0]])
    plain = (logits, torch.tensor([1.0]), torch.ones(1, 3, dtype=torch.bool), 3)
    sharp, focal = (mine(*plain, Mining(0, 1, None, 0.2, focus, 100)) for focus in (0.0, 2.0))
    assert sharp[0, 0] > sharp[0, 1] and focal[0, 0] < focal[0, 1]


@given(st.integers(0, 99), st.none() | st.integers(10, 20))
def test_mining_leaves_each_group_its_share_of_the_plain_negatives(seed: int, top_k: int | None):
    found, member = example(8, 60, seed), groups_of(60, seed)
    weight = mine(**found, mining=Mining(0.2, 0.95, top_k, 0.5, 1.0, 1e6), member=member)
    torch.testing.assert_close(weight.sum(1), found["allowed"].sum(1).float())
    mass, plain = weight @ member[0].T.float(), found["allowed"].float() @ member[0].T.float()
    both = (mass > 0).all(dim=1)
    expected = plain / plain.sum(1, keepdim=True) * mass.sum(1, keepdim=True)
    torch.testing.assert_close(mass[both], expected[both], rtol=1e-4, atol=1e-4)
    assert both.any()


def test_texts_from_outside_the_batch_do_not_change_what_is_fair():
    found, member = example(4, 60), groups_of(60, 3)
    weight = mine(**found | {"n_plain": 20}, mining=Mining(0, 1, None, 0.5, 1.0, 1e6), member=member)
    mass, plain = (x @ member[0].T.float() for x in (weight, found["allowed"] * (torch.arange(60) < 20).float()))
    torch.testing.assert_close(mass[:, 0] / mass.sum(1), plain[:, 0] / plain.sum(1))


def test_the_top_k_are_chosen_so_that_both_groups_are_there_and_others_stay():
    """The ten hardest show one group only, and five without a group: the other group's hardest come in."""
    logits = torch.arange(60.0).flip(0)[None]
    inside, outside = torch.zeros(60, dtype=torch.bool), torch.zeros(60, dtype=torch.bool)
    inside[:20:2], outside[50:] = True, True  # ten of each
    member = torch.stack([inside, outside])[None]
    weight = mine(logits, torch.zeros(1), torch.ones(1, 60, dtype=torch.bool), 60, Mining(0, 1, 10, 0, 0, 10), member)
    kept = torch.nonzero(weight[0]).flatten().tolist()
    assert kept == [0, 1, 2, 3, 4, 5, 7, 9, 50, 51, 52]
    assert weight[0, inside].sum() == pytest.approx(weight[0, outside].sum().item())


def test_several_contrasts_are_fair_together():
    found = example(8, 200, 1)
    member = torch.cat([groups_of(200, 1), groups_of(200, 2)])
    weight = mine(**found, mining=Mining(0.2, 1.0, 40, 0.5, 1.0, 1e6), member=member)
    for contrast in member:
        mass, plain = weight @ contrast.T.float(), found["allowed"].float() @ contrast.T.float()
        torch.testing.assert_close(
            mass / mass.sum(1, keepdim=True), plain / plain.sum(1, keepdim=True), atol=0.01, rtol=0
        )


def test_a_single_one_of_a_group_does_not_carry_the_weight_of_all():
    logits = torch.linspace(4, 0, 40)[None]
    member = torch.zeros(1, 2, 40, dtype=torch.bool)
    member[0, 0, :20] = member[0, 1, 20:] = True
    weight = mine(
        logits, torch.zeros(1), torch.ones(1, 40, dtype=torch.bool), 40, Mining(0.5, 1, None, 0, 0, 3), member
    )
    assert not weight[0, 20:].any()  # the band has none of the second group: nothing to share
    weight = mine(
        logits, torch.zeros(1), torch.ones(1, 40, dtype=torch.bool), 40, Mining(0.47, 1, None, 0, 0, 3), member
    )
    assert weight[0, 20:].max() / weight[0, :20].max() == pytest.approx(3 / (20 / (40 * 20 / 21)))  # not 20


def test_where_nothing_is_allowed_nothing_counts():
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    weight = mine(torch.zeros(2, 5), torch.zeros(2), nothing, 5, Mining(0.5, 1, 3, 1, 1, 10))
    assert torch.equal(weight, torch.zeros(2, 5))


def test_the_rest_of_the_weight_is_spread_evenly_over_all_that_is_allowed():
    found, sharp = example(8, 40), {"low": 0.5, "high": 1, "top_k": 5, "sharpness": 0.5, "focus": 1, "max_weight": 9}
    mined, half, none = (mine(**found, mining=Mining(**sharp, strength=strength)) for strength in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (mined + found["allowed"].float()) / 2)
    assert torch.equal(none, found["allowed"].float())
