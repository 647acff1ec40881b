"""Statistics over seeds, against scipy, statsmodels, least squares and hand-computed cases, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from evenclip.summarize.comparing import TESTS_COLUMNS, compare_runs, runs_by_seeds
from evenclip.summarize.inference import Contrast, RunsBySeeds
from evenclip.summarize.multiplicity import benjamini_hochberg, benjamini_hochberg_levels, holm, holm_levels


def table_of(values) -> RunsBySeeds:
    return RunsBySeeds({f"r{i}": row for i, row in enumerate(np.asarray(values).tolist())})


def least_squares(values) -> tuple[np.ndarray, float, int]:
    """Run effects against run 0, error variance and its degrees of freedom of y = run + seed + error."""
    n_runs, n_seeds = values.shape
    design = np.hstack([np.kron(np.eye(n_runs), np.ones((n_seeds, 1))), np.tile(np.eye(n_seeds)[:, 1:], (n_runs, 1))])
    coefficients, _, rank, _ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    residual = values.ravel() - design @ coefficients
    df = values.size - rank
    return coefficients[:n_runs] - coefficients[0], float(residual @ residual) / df, df


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 10**6))
def test_a_difference_is_that_of_the_two_way_least_squares_fit(n_runs, n_seeds, seed):
    values = np.random.default_rng(seed).normal(size=(n_runs, n_seeds)) + np.arange(n_seeds)
    effects, _, df = least_squares(values)
    difference = table_of(values).difference(f"r{n_runs - 1}", "r0")
    assert difference.estimate == pytest.approx(effects[-1])
    assert n_seeds - 1 <= difference.df <= min(df, 2 * (n_seeds - 1))


def test_equal_variances_are_pooled_by_least_squares():
    """The mean variance of all pairs is twice its error variance; it counts half, the pair's own the other half."""
    values = np.random.default_rng(1).normal(size=(4, 5)) + np.arange(5)
    _, variance, _ = least_squares(values)
    own = (values[2] - values[0]).var(ddof=1)
    difference = table_of(values).difference("r2", "r0")
    assert difference.se == pytest.approx(math.sqrt((2 * variance + own) / 2 / 5)) and difference.df == 8


def test_two_runs_are_the_paired_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 5))
    difference = table_of([a, b]).difference("r1", "r0")
    expected = stats.ttest_rel(b, a)
    assert difference.p_outside(0) == pytest.approx(expected.pvalue)
    assert difference.p_above(0) == pytest.approx(stats.ttest_rel(b, a, alternative="greater").pvalue)
    assert difference.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_power_agrees_with_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    # standardised by the sd of the paired differences: se = sd / sqrt(n)
    expected = power.TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert Contrast(0.0, 2.0 / math.sqrt(5), 4).detectable() == pytest.approx(2.0 * expected, rel=1e-4)


@pytest.mark.parametrize(
    ("df", "level"), [(1, 0.05), (2, 0.05), (4, 0.05), (30, 0.05), (4, 0.05 / 210), (1, 0.05 / 210)]
)
def test_the_detectable_difference_is_found_four_times_in_five(df, level):
    size = Contrast(0.0, 1.0, df).detectable(level)
    critical = stats.t.ppf(1 - level / 2, df)
    rng = np.random.default_rng(df)
    t = (rng.normal(size=100_000) + size) / np.sqrt(rng.chisquare(df, 100_000) / df)
    assert (abs(t) > critical).mean() == pytest.approx(0.8, abs=0.006)


def test_a_mean_by_hand():
    # variances within runs 2 and 8, of which the prior is the mean 5 with 1 degree of freedom: r1 has (5 + 8) / 2.
    # both seeds move by +2 and +4: MS_seed = 9, MS_error = 1
    runs = table_of([[0, 2], [0, 4]])
    assert runs.variance == pytest.approx(5)
    assert runs.df == pytest.approx(10**2 / (9**2 + 1**2))
    assert runs.mean("r1").interval() == pytest.approx(stats.t.interval(0.95, runs.df, 2, math.sqrt(6.5 / 2)))


def test_one_run_has_the_ordinary_t_interval():
    values = [0.3, 0.5, 0.4]
    mean = RunsBySeeds({"a": values}).mean("a")
    assert mean.df == pytest.approx(2)
    assert mean.interval() == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values)))


@given(hnp.arrays(float, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-1, 1)))
def test_degrees_of_freedom_lie_between_one_run_and_all_runs(values):
    runs = table_of(values)
    if math.isfinite(runs.variance):
        n_runs, n_seeds = values.shape
        assert n_seeds - 1 - 1e-6 <= runs.df <= n_runs * (n_seeds - 1) + 1e-6
        assert runs.variance == pytest.approx(values.var(axis=1, ddof=1).mean(), rel=1e-6, abs=1e-18)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(2, 40), st.floats(0.01, 1))
def test_equivalence_needs_the_90_percent_interval_in_margin(estimate, se, df, margin):
    contrast = Contrast(estimate, se, df)
    low, high = contrast.interval(0.1)
    assert (contrast.p_within(margin) <= 0.05) == (-margin <= low and high <= margin)


def test_equivalence_agrees_with_statsmodels():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    a, b = np.random.default_rng(3).normal(size=(2, 8))
    p, *_ = weightstats.ttost_paired(b, a, -0.8, 0.8)
    assert table_of([a, b]).difference("r1", "r0").p_within(0.8) == pytest.approx(p)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(1, 40))
def test_outside_a_margin_of_0_is_the_two_sided_t_test(estimate, se, df):
    expected = 2 * stats.t.sf(abs(estimate) / se, df)
    assert Contrast(estimate, se, df).p_outside(0) == pytest.approx(expected)


def test_outside_a_margin_errs_in_5_percent_at_its_border():
    rng, powers = np.random.default_rng(4), []
    for d in rng.normal(0.3, 1, size=(4000, 2)).mean(axis=1):
        powers.append(Contrast(float(d), 1 / math.sqrt(2), 10**6).p_outside(0.3) <= 0.05)
    assert np.mean(powers) == pytest.approx(0.05, abs=0.012)


def test_without_spread_there_is_neither_interval_nor_p():
    for values in ([[0.1], [0.4]], [[0.1, 0.2], [0.4, 0.5]]):
        (row,) = compare_runs({"m": table_of(values)})
        assert row["effect"] == pytest.approx(0.3)
        assert row["ci_low"] is row["p_t"] is row["p_t_holm"] is row["detectable"] is None
    assert table_of([[0.1], [0.4]]).mean("r0").interval() == (None, None)


@pytest.mark.parametrize("n", [5, 6, 10])
def test_signed_rank_p_is_given_where_it_can_be_significant(n):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    (row,) = compare_runs({"m": table_of([a, b])})
    expected = stats.wilcoxon(b - a, method="exact")
    assert row["statistic"] == expected.statistic
    assert row["p"] == (None if n < 6 else pytest.approx(expected.pvalue))


def test_signed_rank_p_with_ties_enumerates_all_signs():
    # |d| = 1 seven times, one of them negative: p = 2 * (C(7,0) + C(7,1)) / 2**7
    (row,) = compare_runs({"m": table_of([[0.1] * 7, [0.1 + s * 0.3 for s in (1, 1, 1, 1, 1, 1, -1)]])})
    assert row["p"] == pytest.approx(2 * 8 / 2**7)
    assert row["rank_biserial"] == pytest.approx(5 / 7)


def test_effect_sizes_by_hand():
    runs = table_of([[0, 2], [1, 7]])  # pooled variance (2 + 18) / 2, differences 1 and 5
    j = math.gamma(runs.df / 2) / (math.sqrt(runs.df / 2) * math.gamma((runs.df - 1) / 2))
    assert runs.hedges_g("r1", "r0") == pytest.approx(3 / math.sqrt(10) * j)
    assert runs.rank_biserial("r1", "r0") == 1 and runs.rank_biserial("r0", "r1") == -1
    assert table_of([[0, 1, 2], [1, 0, 5]]).rank_biserial("r1", "r0") == pytest.approx((1.5 - 1.5 + 3) / 6)


def test_rank_biserial_agrees_with_pingouin():
    pingouin = pytest.importorskip("pingouin")
    a, b = np.random.default_rng(5).normal(size=(2, 9))
    assert table_of([a, b]).rank_biserial("r1", "r0") == pytest.approx(pingouin.wilcoxon(b, a)["RBC"].iloc[0])


def test_equal_runs_have_p_one():
    (row,) = compare_runs({"m": table_of([[0.3] * 6, [0.3] * 6])})
    assert (row["p"], row["p_holm"], row["effect"], row["rank_biserial"]) == (1.0, 1.0, 0.0, 0.0)
    assert math.copysign(1, row["effect"]) == 1


def test_a_metric_missing_in_one_seed_is_not_compared():
    values = {"a": [{"m": 1.0}, {"m": 2.0}], "b": [{"m": 1.5}, {}], "c": [{"m": 0.0}, {"m": 0.5, "late": 1.0}]}
    tables = runs_by_seeds(values)
    assert tables["m"].runs == ("a", "c") and set(tables) == {"m"}
    assert set(compare_runs(tables)[0]) == set(TESTS_COLUMNS)


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_levels_reject_what_adjusted_p_values_reject(p):
    for adjust, levels in ((holm, holm_levels), (benjamini_hochberg, benjamini_hochberg_levels)):
        rejected = [value <= 0.05 for value in adjust(p)]
        assert [value <= level for value, level in zip(p, levels(p, 0.05), strict=True)] == rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_benjamini_hochberg_agrees_with_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


@pytest.mark.parametrize(("mean", "se", "df"), [(0.708, 0.13, 1), (0.99, 0.01, 4), (0.5, 0.001, 7)])
def test_intervals_of_shares_stay_shares(mean, se, df):
    contrast = Contrast(mean, se, df)
    low, high = contrast.interval_within(0, 1)
    assert 0 < low < mean < high < 1
    if se < 0.005:
        assert (low, high) == pytest.approx(contrast.interval(), abs=1e-6)
    assert Contrast(1.0, se, df).interval_within(0, 1)[1] == 1.0
    low, high = Contrast(0.4, 0.5, 2).interval_within(-1, 1)
    assert -1 < low < 0.4 < high < 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_rule_rejects(p):
    level, order = 0.05, np.argsort(p, kind="stable")
    rejected = np.zeros(len(p), dtype=bool)
    for step, index in enumerate(order):
        if (len(p) - step) * p[index] > level:
            break
        rejected[index] = True
    assert [value <= level for value in holm(p)] == rejected.tolist()


def test_holm_adjusts_over_pairs_of_runs_within_a_metric():
    values = np.random.default_rng(1).normal(size=(3, 8)) + np.array([[0], [1], [3]])
    rows = compare_runs({"m": table_of(values), "other": table_of(values)})
    assert [(row["run_a"], row["run_b"]) for row in rows[:3]] == [("r0", "r1"), ("r0", "r2"), ("r1", "r2")]
    assert len(rows) == 6
    for metric in ("m", "other"):
        family = [row for row in rows if row["metric"] == metric]
        for p in ("p", "p_t"):
            assert [row[f"{p}_holm"] for row in family] == pytest.approx(holm([row[p] for row in family]))


def test_detectable_differences_are_found_after_holm():
    values = np.random.default_rng(1).normal(size=(3, 8))
    rows = compare_runs({"m": table_of(values)})
    for row in rows:
        contrast = table_of(values).difference(row["run_b"], row["run_a"])
        assert row["detectable"] == contrast.detectable(0.05 / 3)
