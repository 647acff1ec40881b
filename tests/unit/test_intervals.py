"""Wilson's interval agrees with scipy's where that is defined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from evenclip.intervals import wilson_interval


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(counts: tuple[int, int]):
    k, n = counts
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson_interval(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_between_two_counts_lies_between_their_intervals():
    low, high = wilson_interval(0.25, 10)
    assert wilson_interval(0.2, 10)[0] < low < 0.25 < high < wilson_interval(0.3, 10)[1]
