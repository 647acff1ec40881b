"""Intervals that hold the truth: shares, classes of one image, clusters, and values that are biased upwards."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from evenclip.evaluate.bootstrap import Bootstrap, Means, clustered_row, reflected_row, share_row
from evenclip.evaluate.ranking import mean_recall_row

SHARES = np.arange(0.01, 0.995, 0.01)


@pytest.mark.parametrize(("k", "n"), [(0, 30), (1, 30), (15, 30), (30, 30), (3, 500)])
def test_a_share_has_the_interval_of_wilson(k, n):
    row = share_row("m", np.repeat([1.0, 0.0], [k, n - k]))
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert (row.ci_low, row.ci_high) == pytest.approx((expected.low, expected.high)) and row.value == k / n


@pytest.mark.parametrize("n", [30, 60, 200])
def test_exact_coverage_of_shares_rare_ones_included(n):
    rows = [share_row("m", np.repeat([1.0, 0.0], [k, n - k])) for k in range(n + 1)]
    low, high = (np.array([getattr(row, end) for row in rows]) for end in ("ci_low", "ci_high"))
    holds = (low[:, None] <= SHARES) & (high[:, None] >= SHARES)
    coverage = (binom.pmf(np.arange(n + 1)[:, None], n, SHARES) * holds).sum(axis=0)
    assert coverage.mean() == pytest.approx(0.95, abs=0.005) and coverage.min() > 0.92


TRIALS, N = 200, 30
EFFECTS = {"none": np.zeros(5), "many equal": np.full(10, 0.05), "one large": np.array([0.6, 0.1, 0.0]),
           "all large": np.full(5, 0.6)}  # fmt: skip


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_absolute_differences_are_covered_near_and_far_from_zero(effects, reduce):
    rng, strata = np.random.default_rng(0), np.repeat([0, 1], N)

    def norm(m: np.ndarray) -> np.ndarray:
        return getattr(np.abs(m[..., 0, :] - m[..., 1, :]), reduce)(axis=-1)

    truth, held = getattr(effects, reduce)(), []
    for trial in range(TRIALS):
        values = rng.normal(size=(2 * N, len(effects))) * 0.3 + np.outer(strata, effects)
        row = Bootstrap(300, trial).means(values, strata).norm_row("m", norm, 2 * N)
        held.append(row.ci_low <= truth <= row.ci_high)
    assert np.mean(held) > 0.92


def test_percentile_interval_of_a_maximum_misses_zero():
    values, strata = np.random.default_rng(1).normal(size=(60, 5)), np.repeat([0, 1], N)
    means = Bootstrap(500, 0).means(values, strata)
    norm = lambda m: np.abs(m[..., 0, :] - m[..., 1, :]).max(axis=-1)  # noqa: E731
    assert means.row("m", norm, 60).ci_low > 0 == means.norm_row("m", norm, 60).ci_low


def test_a_norm_holds_its_value_and_is_never_negative():
    means = Means(np.full((1, 1), 0.1), np.linspace(-0.05, 0.0, 100).reshape(100, 1, 1))
    row = means.norm_row("m", lambda m: np.abs(m[..., 0, 0]), 10)
    assert (row.ci_low, row.value, row.ci_high) == (0.0, 0.1, 0.1)


def test_reflected_interval_reduces_bias_within_the_range():
    row = reflected_row("m", 0.5, np.linspace(0.5, 0.9, 1001), 10, (0.0, 1.0))
    assert (row.ci_low, row.ci_high) == pytest.approx((0.11, 0.5))
    row = reflected_row("m", 0.1, np.linspace(0.1, 0.5, 1001), 10, (0.0, 1.0))
    assert row.ci_low == 0.0 and row.ci_high == 0.1


def test_classes_of_one_image_are_resampled_together():
    rng, held, codes = np.random.default_rng(2), [], np.arange(100)
    for trial in range(300):
        row = mean_recall_row("m", (rng.random(100) < 0.3).astype(float), codes, Bootstrap(300, trial), 0.01)
        held.append(row.ci_low <= 0.3 <= row.ci_high)
    assert 0.91 < np.mean(held) < 0.98


def test_mean_recall_is_that_of_the_classes_whatever_their_sizes():
    hits, codes = np.array([1.0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1]), np.array([7, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4])
    expected = np.mean([hits[codes == code].mean() for code in (2, 4, 7)])
    assert mean_recall_row("m", hits, codes, Bootstrap(100, 0), 0.1).value == pytest.approx(expected)
    large = codes != 7
    row = mean_recall_row("m", hits[large], codes[large], Bootstrap(4000, 0), 0.1)
    assert row.value == pytest.approx((3 / 5 + 4 / 5) / 2)
    # stratified: the variance is that within the classes alone
    within = np.mean([p * (1 - p) / 5 for p in (3 / 5, 4 / 5)]) / 2
    assert (row.ci_high - row.ci_low) / 3.92 == pytest.approx(np.sqrt(within), rel=0.1)


def test_examples_of_one_cluster_count_as_one():
    values, clusters = np.repeat([1.0, 0.0], 20), np.arange(40)
    alone = clustered_row("m", values, clusters, Bootstrap(2000, 0))
    five = clustered_row("m", np.repeat(values, 5), np.repeat(clusters, 5), Bootstrap(2000, 0))
    assert (five.value, five.ci_low, five.ci_high) == (alone.value, alone.ci_low, alone.ci_high) and five.n == 200
    unequal = clustered_row("m", np.array([1.0, 1, 1, 0]), np.array(list("aaab")), Bootstrap(100, 0))
    assert unequal.value == 0.75
