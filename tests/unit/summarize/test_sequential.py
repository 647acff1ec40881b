"""Looks at a growing study: boundaries against published tables, error rates against simulation."""

import numpy as np
import pytest
from scipy import stats

from evenclip.summarize.sequential import boundaries, conditional_power, nominal_level, sequential_p, spent

# two-sided 0.05, equal steps: Reboussin, DeMets, Kim & Lan 2000, Programs for computing group sequential boundaries
# using the Lan-DeMets method; the same as of gsDesign (sfLDOF) and ldbounds
PUBLISHED = {
    2: (2.9626, 1.9686),
    3: (3.7103, 2.5114, 1.9930),
    4: (4.3326, 2.9631, 2.3590, 2.0141),
    5: (4.8769, 3.3569, 2.6803, 2.2898, 2.0310),
}
THIRDS = (1 / 3, 2 / 3, 1.0)


@pytest.mark.parametrize("n_looks", PUBLISHED)
def test_boundaries_are_those_of_published_tables(n_looks):
    shares = tuple(np.arange(1, n_looks + 1) / n_looks)
    assert boundaries(shares, 0.025) == pytest.approx(PUBLISHED[n_looks], abs=1e-3)


def test_one_look_at_all_seeds_is_the_plain_test():
    assert spent(0.025, 1.0) == pytest.approx(0.025)
    assert nominal_level((1.0,), 0.01) == pytest.approx(0.01)
    assert sequential_p([0.03], [1.0]) == pytest.approx(0.03)


@pytest.mark.parametrize("shares", [(0.5, 1.0), THIRDS, (1 / 3, 2 / 3, 20 / 24)])
@pytest.mark.parametrize("level", [0.3, 0.025, 0.002])
def test_a_p_at_the_boundary_is_the_level(shares, level):
    for look, bound in enumerate(boundaries(shares, level), start=1):
        p = [1.0] * (look - 1) + [stats.norm.sf(bound)]
        assert sequential_p(p, shares[:look]) == pytest.approx(level, rel=0.01)


def test_more_looks_never_take_a_verdict_back():
    p = [1e-5, 0.5, 0.9]
    assert sequential_p(p, THIRDS) <= sequential_p(p[:1], THIRDS[:1])


@pytest.mark.parametrize("level", [0.025, 0.1])
def test_looks_in_all_err_as_often_as_the_level_says(level):
    steps = np.random.default_rng(0).normal(size=(20_000, 3))
    z = steps.cumsum(1) / np.sqrt([1, 2, 3])
    crossed = (z >= boundaries(THIRDS, level)).any(1).mean()
    assert crossed == pytest.approx(level, abs=3 * np.sqrt(level / 20_000))


def test_conditional_power_by_simulation():
    rng, share, p = np.random.default_rng(1), 0.4, 0.05
    final, z = boundaries((share, 1.0), 0.025)[-1], stats.norm.isf(p)
    score = z * np.sqrt(share) + rng.normal(z / np.sqrt(share) * (1 - share), np.sqrt(1 - share), 20_000)
    assert conditional_power(p, share, final) == pytest.approx((score >= final).mean(), abs=0.01)
    assert conditional_power(0.5, 1.0, 2.0) == 0.0
