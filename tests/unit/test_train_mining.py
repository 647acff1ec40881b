"""Mined negatives: InfoNCE as the open end, the band, the top K, bounds, normalised rows and fair shares."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenclip.train.mining import Mining, Sides, mine

OPEN = Mining(low=0.0, high=1.0, top_k=None, sharpness=0.0, focus=0.0, max_weight=10.0)


def example(n: int, c: int, seed: int = 0, allowed_share: float = 0.8) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    allowed = torch.rand(n, c, generator=rng) < allowed_share
    allowed[:, 0] = True
    logits, positive = 5 * torch.randn(n, c, generator=rng), 5 * torch.randn(n, generator=rng)
    return {"logits": logits, "positive": positive, "allowed": allowed, "total": allowed.sum(1).float()}


def sides_of(c: int, seed: int, share: float = 0.5) -> Sides:
    """One contrast: a third inside, a sixth outside, half in neither."""
    group = torch.randint(6, (c,), generator=torch.Generator().manual_seed(seed))
    return Sides(torch.stack([group < 2, group == 2])[None], torch.tensor([[share, 1 - share]]))


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
    torch.testing.assert_close(weight.sum(1), found["total"])
    assert not weight[~found["allowed"]].any()
    for row in weight:
        assert row[row > 0].max() / row[row > 0].min() <= mining.max_weight**2 * 1.001
    n_kept = (weight > 0).sum(1)
    assert (n_kept >= 1).all() and (mining.top_k is None or (n_kept <= mining.top_k).all())


def test_the_band_is_made_of_percentiles_and_the_top_k_are_its_hardest():
    logits = torch.arange(100.0).flip(0)[None]  # column j is harder than all but j others
    plain = {"logits": logits, "positive": torch.zeros(1), "allowed": torch.ones(1, 100, dtype=torch.bool)}
    kept = mine(**plain, total=torch.tensor([99.0]), mining=Mining(0.5, 0.9, None, 0, 0, 10))
    assert torch.nonzero(kept[0]).flatten().tolist() == list(range(10, 50))
    kept = mine(**plain, total=torch.tensor([99.0]), mining=Mining(0.5, 0.9, 5, 0, 0, 10))
    assert torch.nonzero(kept[0]).flatten().tolist() == [10, 11, 12, 13, 14]


def test_difficulty_is_ranked_among_what_is_allowed():
    logits, allowed = torch.arange(8.0)[None], torch.tensor([[True] * 4 + [False] * 4])
    kept = mine(logits, torch.zeros(1), allowed, torch.ones(1), Mining(0, 1, 1, 0, 0, 10))
    assert torch.nonzero(kept[0]).flatten().tolist() == [3]


def test_weights_are_the_formula():
    logits, positive = torch.tensor([[0.5, 1.0, -0.5]]), torch.tensor([2.0])
    mining = Mining(0, 1, None, sharpness=0.7, focus=2.0, max_weight=100)
    weight = mine(logits, positive, torch.ones(1, 3, dtype=torch.bool), torch.tensor([3.0]), mining)[0].numpy()
    everything = np.exp([2.0, 0.5, 1.0, -0.5])
    p = everything[1:] / everything.sum()
    raw = (everything[1:] * (1 - p) ** 2) ** 0.7
    np.testing.assert_allclose(weight, 3 * raw / raw.sum(), rtol=1e-5)


def test_the_focal_factor_shrinks_the_negatives_that_the_model_is_sure_of():
    logits = torch.tensor([[9.0, 1.0, 0.0]])
    plain = (logits, torch.tensor([1.0]), torch.ones(1, 3, dtype=torch.bool), torch.tensor([3.0]))
    sharp, focal = (mine(*plain, Mining(0, 1, None, 0.2, focus, 100)) for focus in (0.0, 2.0))
    assert sharp[0, 0] > sharp[0, 1] and focal[0, 0] < focal[0, 1]


@given(st.integers(0, 99), st.floats(0.2, 0.8), st.none() | st.integers(4, 20))
def test_each_group_has_its_share_of_every_anchors_negatives(seed: int, share: float, top_k: int | None):
    found, sides = example(8, 60, seed), sides_of(60, seed, share)
    weight = mine(**found, mining=Mining(0.2, 0.95, top_k, 0.5, 1.0, 10), sides=sides)
    torch.testing.assert_close(weight.sum(1), found["total"])
    mass = weight @ sides.member[0].T.float()
    both = (mass > 0).all(dim=1)
    torch.testing.assert_close(mass[both], sides.share * mass[both].sum(1, keepdim=True), rtol=1e-4, atol=1e-4)
    assert both.any()


def test_the_top_k_are_chosen_so_that_both_groups_are_there_and_others_stay():
    """The ten hardest show one group only, and five without a group: the other group's hardest come in."""
    logits = torch.arange(60.0).flip(0)[None]
    inside, outside = torch.zeros(60, dtype=torch.bool), torch.zeros(60, dtype=torch.bool)
    inside[:20:2], outside[40:] = True, True
    sides = Sides(torch.stack([inside, outside])[None], torch.tensor([[0.5, 0.5]]))
    weight = mine(logits, torch.zeros(1), torch.ones(1, 60, dtype=torch.bool), torch.tensor([59.0]),
                  Mining(0, 1, 10, 0, 0, 10), sides)  # fmt: skip
    kept = torch.nonzero(weight[0]).flatten().tolist()
    assert kept == [0, 1, 2, 3, 4, 5, 7, 9, 40, 41, 42]
    assert weight[0, inside].sum() == pytest.approx(weight[0, outside].sum().item())


def test_several_contrasts_are_fair_together():
    found = example(8, 200, 1)
    first, second = sides_of(200, 1, 0.5), sides_of(200, 2, 0.3)
    sides = Sides(torch.cat([first.member, second.member]), torch.cat([first.share, second.share]))
    weight = mine(**found, mining=Mining(0.2, 1.0, 40, 0.5, 1.0, 10), sides=sides)
    for member, share in zip(sides.member, sides.share, strict=True):
        mass = weight @ member.T.float()
        torch.testing.assert_close(mass / mass.sum(1, keepdim=True), share.expand(8, 2), atol=0.01, rtol=0)


def test_where_nothing_is_allowed_nothing_counts():
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    weight = mine(torch.zeros(2, 5), torch.zeros(2), nothing, torch.zeros(2), Mining(0.5, 1, 3, 1, 1, 10))
    assert torch.equal(weight, torch.zeros(2, 5))


def test_the_rest_of_the_weight_is_spread_evenly_over_all_that_is_allowed():
    found, sharp = example(8, 40), {"low": 0.5, "high": 1, "top_k": 5, "sharpness": 0.5, "focus": 1, "max_weight": 9}
    mined, half, none = (mine(**found, mining=Mining(**sharp, strength=strength)) for strength in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (mined + found["allowed"].float()) / 2)
    assert torch.equal(none, found["allowed"].float())
