"""The bootstrap: right draws, right means, intervals that cover as often as they say."""

import numpy as np
import pytest

from evenclip.evaluate import bootstrap as module
from evenclip.evaluate.bootstrap import Bootstrap, interval_row


def test_each_resample_keeps_the_size_of_every_stratum():
    strata = np.array([0, 1, 1, 2, 2, 2, 1, 0, 2])
    counts = np.concatenate(list(Bootstrap(200, 0).counts(strata)))
    assert counts.shape == (200, 9)
    for stratum in range(3):
        assert (counts[:, strata == stratum].sum(axis=1) == (strata == stratum).sum()).all()
    assert counts.min() == 0 and counts.max() > 1  # with replacement


def test_replicates_are_the_means_of_the_counted_examples():
    rng = np.random.default_rng(1)
    values, strata = rng.normal(size=(7, 2)), np.array([1, 0, 1, 0, 1, 1, 0])
    means = Bootstrap(50, 3).means(values, strata)
    order = np.argsort(strata, kind="stable")
    counts = np.concatenate(list(Bootstrap(50, 3).counts(strata[order])))
    for b in range(50):
        repeated = np.repeat(order, counts[b])
        for stratum in (0, 1):
            expected = values[repeated[strata[repeated] == stratum]].mean(axis=0)
            np.testing.assert_allclose(means.replicates[b, stratum], expected, atol=1e-12)
    np.testing.assert_allclose(means.point, [values[strata == g].mean(axis=0) for g in (0, 1)])


def test_standard_error_of_the_mean_is_that_of_theory():
    values = np.random.default_rng(2).normal(size=(400, 1))
    replicates = Bootstrap(4000, 0).means(values).replicates
    assert replicates.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)
    assert replicates.mean() == pytest.approx(values.mean(), abs=0.01)


def test_equal_seed_equal_interval_other_seed_other_interval():
    values = np.random.default_rng(3).random((50, 1))
    first, same, other = (Bootstrap(200, seed).means(values).replicates for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_blocks_bound_the_memory_and_give_all_resamples(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 70)
    blocks = list(Bootstrap(100, 0).counts(np.zeros(10, dtype=int)))
    assert [len(block) for block in blocks] == [7] * 14 + [2]
    assert Bootstrap(100, 0).means(np.arange(10.0)[:, None]).replicates.shape == (100, 1, 1)


TRIALS = 2000


def coverage(values: np.ndarray, strata: np.ndarray | None, statistic, truth: float) -> float:
    """Share of the trials, columns of ``values`` (n, trials), whose interval holds ``truth``; resamples are shared."""
    means = Bootstrap(1000, 0).means(values, strata)
    low, high = np.quantile(statistic(means.replicates), [0.025, 0.975], axis=0)
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_coverage_of_a_share_is_within_93_and_97_percent(share):
    values = np.random.default_rng(7).random((200, TRIALS)) < share
    assert 0.93 <= coverage(values, None, lambda m: m[..., 0, :], share) <= 0.97


def test_difference_of_unequal_groups_covers_93_to_97_percent():
    strata = np.repeat([0, 1], [160, 60])
    values = np.random.default_rng(8).normal(loc=np.where(strata == 0, 0.4, 0.1)[:, None], size=(220, TRIALS))
    assert 0.93 <= coverage(values, strata, lambda m: m[..., 0, :] - m[..., 1, :], 0.3) <= 0.97


def test_recall_over_resampled_images_covers_93_to_97_percent():
    # captions of one image are alike: resampled one by one they would give intervals that are too short
    rng = np.random.default_rng(9)
    easy = rng.random((200, TRIALS)) < 0.5
    hits = rng.binomial(5, np.where(easy, 0.9, 0.2))
    assert 0.93 <= coverage(hits / 5, None, lambda m: m[..., 0, :], 0.55) <= 0.97


def test_coverage_of_a_large_maximum_is_within_93_and_97_percent():
    strata, shift = np.repeat([0, 1], 150), np.repeat([0.6, 0.1, 0.0], TRIALS)
    values = np.random.default_rng(10).normal(loc=np.outer(strata, shift))

    def largest(m: np.ndarray) -> np.ndarray:
        difference = np.abs(m[..., 0, :] - m[..., 1, :])
        return difference.reshape(*difference.shape[:-1], 3, TRIALS).max(axis=-2)

    assert 0.93 <= coverage(values, strata, largest, 0.6) <= 0.97


def test_maximum_is_per_resample_and_biased_upwards():
    values = np.random.default_rng(9).normal(size=(100, 8))
    means = Bootstrap(500, 0).means(values)
    statistic = lambda m: np.abs(m[..., 0, :]).max(axis=-1)  # noqa: E731
    assert statistic(means.replicates).mean() > statistic(means.point)
    row = means.row("m", statistic, 100)
    assert row.ci_low <= row.value <= row.ci_high


def test_an_interval_always_holds_its_value():
    row = interval_row("m", 0.1, np.linspace(0.2, 0.3, 100), 10)
    assert row.ci_low == 0.1 and row.ci_high == pytest.approx(0.2975)
