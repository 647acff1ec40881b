"""Moderated variances: their prior on data with a known truth, and how often the intervals from them cover."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.summarize.inference import Prior, RunsBySeeds

TRIALS = 300


@pytest.mark.parametrize("df_of_prior", [1.5, 3.0])
def test_the_prior_of_many_variances_is_found(df_of_prior):
    """Smyth's model: true variances are 0.25 df_of_prior / chi2, seen with 4 degrees of freedom."""
    rng, n = np.random.default_rng(0), 20_000
    true = 0.25 * df_of_prior / rng.chisquare(df_of_prior, n)
    prior = Prior.fit(true * rng.chisquare(4, n) / 4, 4)
    assert prior.df == pytest.approx(df_of_prior, rel=0.1)
    assert prior.variance == pytest.approx(0.25, rel=0.05)


def test_prior_of_equal_variances_has_the_weight_of_one_pair():
    seen = np.random.default_rng(0).chisquare(4, 1000) / 4
    assert Prior.fit(seen, 4) == Prior(pytest.approx(seen.mean()), 4)
    assert Prior.fit(seen, 4).moderate(3.0, 4) == pytest.approx((seen.mean() + 3.0) / 2)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=8), st.integers(1, 6))
def test_a_moderated_variance_lies_between_its_own_and_the_prior(variances, df):
    prior = Prior.fit(np.array(variances), df)
    assert 0 < prior.df <= df
    for own in variances:
        low, high = sorted((own, prior.variance))
        assert low * (1 - 1e-9) <= prior.moderate(own, df) <= high * (1 + 1e-9)


@given(st.floats(1e-6, 1e6))
def test_moderation_does_not_depend_on_the_unit(scale):
    values = np.random.default_rng(1).normal(size=(5, 4)) * np.array([[1], [1], [1], [9], [20]])
    first, other = (
        RunsBySeeds({str(i): row for i, row in enumerate(table)}).difference("1", "0")
        for table in (values, values * scale)
    )  # fmt: skip
    assert other.se == pytest.approx(first.se * scale, rel=1e-4) and other.df == pytest.approx(first.df, rel=1e-3)


def test_one_variance_is_its_own_prior():
    assert Prior.fit(np.array([0.5]), 4).moderate(0.5, 4) == 0.5


def test_zero_variances_are_left_out_and_get_the_prior():
    seen = np.array([0.1, 0.2, 0.4])
    prior = Prior.fit(np.array([0.0, *seen, 0.0]), 4)
    assert prior == Prior.fit(seen, 4)
    assert prior.moderate(0.0, 4) == prior.variance


def test_without_spread_anywhere_there_is_no_prior():
    assert math.isnan(Prior.fit(np.zeros(3), 4).variance)


def test_a_saturated_pair_among_others_has_an_interval():
    noisy = np.random.default_rng(2).normal(0.8, 0.01, size=(4, 5))
    table = RunsBySeeds({"full": [1.0] * 5, "full_too": [1.0] * 5} | {f"r{i}": row for i, row in enumerate(noisy)})
    for contrast in (table.difference("full", "full_too"), table.mean("full")):
        low, high = contrast.interval()
        assert low < contrast.estimate < high
        assert contrast.df <= 2 * 4


def test_one_noisy_run_does_not_widen_other_intervals():
    values = np.random.default_rng(3).normal(size=(10, 5)) * np.array([[30]] + [[1]] * 9)
    table = RunsBySeeds({f"r{i}": row for i, row in enumerate(values)})
    assert table.difference("r2", "r1").se * 5 < table.difference("r2", "r0").se
    assert table.mean("r1").se * 5 < table.mean("r0").se


def coverage(n_runs: int, n_seeds: int, shared: float, sd: float) -> np.ndarray:
    """How often the intervals of a difference and of a mean hold the truth, shape (2,).

    The two runs compared have ``sd`` times the spread of the others; all runs correlate by ``shared`` over seeds.
    """
    rng, covered = np.random.default_rng(5), np.zeros(2)
    spread = np.array([sd, sd] + [1.0] * (n_runs - 2))[:, None]
    for _ in range(TRIALS):
        own, common = rng.normal(size=(n_runs, n_seeds)), rng.normal(size=n_seeds)
        values = spread * (math.sqrt(1 - shared) * own + math.sqrt(shared) * common)
        table = RunsBySeeds({f"r{i}": row for i, row in enumerate(values)})
        for kind, contrast in enumerate((table.difference("r1", "r0"), table.mean("r0"))):
            low, high = contrast.interval()
            covered[kind] += low <= 0 <= high
    return covered / TRIALS


@pytest.mark.parametrize(("n_runs", "n_seeds", "shared"), [*itertools.product((3, 21), (3, 5), (0.0, 0.9))])
@pytest.mark.parametrize(("sd", "least"), [(1 / 3, 0.92), (1.0, 0.90), (2.0, 0.85), (3.0, 0.82)])
def test_intervals_cover_as_often_as_the_documentation_says(n_runs, n_seeds, shared, sd, least):
    """95 % where all runs vary alike or the pair varies less; less, but far from 60 %, where it varies more."""
    measured = coverage(n_runs, n_seeds, shared, sd)
    assert measured.min() >= least, measured
