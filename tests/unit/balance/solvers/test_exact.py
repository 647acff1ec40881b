"""The exact solver against cvxpy (Clarabel) on generated problems, its certificate, and what must not matter."""

import cvxpy as cp
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evenclip.balance import BalanceOptions
from evenclip.balance.moments import build_moments
from evenclip.balance.problem import contrasts_of
from evenclip.balance.solvers.exact import PENALTY, certify_multipliers, excess, solve
from evenclip.balance.solvers.largest_retention import largest_retention
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.coding import RowCoder
from evenclip.balance.table.source import Source

UTILITY_GRID = 256  # 2^8 bins with default options: utilities k / 256 are alone in their bin


def random_table(seed: int, n: int, n_attributes: int, n_labels: int, utility: bool) -> pa.Table:
    """Correlated overlapping groups and labels."""
    rng = np.random.default_rng(seed)
    groups = rng.random((n, n_attributes)) < rng.uniform(0.2, 0.8, n_attributes)
    tilt = rng.normal(0, 0.25, (n_attributes, n_labels))
    labels = rng.random((n, n_labels)) < rng.uniform(0.05, 0.5, n_labels) + groups @ tilt
    columns = {f"sensitive.a{k}.yes": groups[:, k] for k in range(n_attributes)}
    columns |= {f"target.y{r}": labels[:, r] for r in range(n_labels)}
    if utility:
        columns["utility"] = (rng.integers(0, UTILITY_GRID, n) / UTILITY_GRID).astype(np.float32)
    return pa.table(columns)


def moments_of(table: pa.Table, options: BalanceOptions):
    cells = count_cells(Source(table), 8)
    return cells, build_moments(cells, contrasts_of(cells, "one_hot", options.target), cells.columns.target, options)


class Reference:
    """The same programme over rows, written down for cvxpy from the definition."""

    def __init__(self, table: pa.Table, options: BalanceOptions):
        s = np.column_stack(
            [c.to_numpy() for n, c in zip(table.column_names, table.columns, strict=True) if "sens" in n]
        )
        y = np.column_stack(
            [c.to_numpy() for n, c in zip(table.column_names, table.columns, strict=True) if "targ" in n]
        )
        self.n = len(table)
        self.utility = table.column("utility").to_numpy() if "utility" in table.column_names else np.ones(self.n)
        signal = s - 0.5
        self.moments = [signal[:, k] for k in range(s.shape[1])]
        self.eps = [options.eps_rep] * s.shape[1]
        for k in range(s.shape[1]):
            for r in range(y.shape[1]):
                self.moments.append(signal[:, k] * y[:, r])
                self.eps.append(options.eps_rel * y[:, r].mean() * 0.25)
        self.moments, self.eps = np.array(self.moments), np.array(self.eps)

    def solve(self, retention: float, cap: float, price: float = np.inf) -> tuple[float, np.ndarray | None]:
        q = cp.Variable(self.n)
        moment = self.moments @ q / self.n
        limit = retention * self.eps
        objective = 0.5 * cp.sum_squares(q - retention * self.utility) / self.n
        constraints = [cp.sum(q) / self.n == retention, q >= 0, q <= cap]
        if np.isfinite(price):
            objective += price * cp.sum(cp.pos(cp.abs(moment) - limit))
        else:
            constraints.append(cp.abs(moment) <= limit)
        problem = cp.Problem(cp.Minimize(objective), constraints)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-11)
        return problem.value, q.value

    def least_violation(self, retention: float, cap: float) -> float:
        q, over = cp.Variable(self.n), cp.Variable()
        moment = cp.abs(self.moments @ q / self.n)
        constraints = [cp.sum(q) / self.n == retention, q >= 0, q <= cap, moment <= retention * self.eps + over]
        return cp.Problem(cp.Minimize(over), constraints).solve(solver=cp.CLARABEL)

    def largest_retention(self, cap: float) -> float:
        q = cp.Variable(self.n)
        mean = cp.sum(q) / self.n
        problem = cp.Problem(
            cp.Maximize(mean), [cp.abs(self.moments @ q / self.n) <= mean * self.eps, q >= 0, q <= cap]
        )
        problem.solve(solver=cp.CLARABEL)
        return min(problem.value, 1.0)


PROBLEMS = {
    "seed": st.integers(0, 10_000),
    "n": st.integers(50, 300),
    "n_attributes": st.integers(1, 4),
    "n_labels": st.integers(1, 6),
    "utility": st.booleans(),
    "cap": st.sampled_from([1.0, 1.5, 3.0]),
}


# the reference is asked for 1e-12, more than it always reaches: it then warns, and the comparison below decides
@pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
@settings(max_examples=12, deadline=None)
@given(**PROBLEMS, share=st.floats(0.3, 0.98))
def test_agrees_with_an_independent_solver(seed, n, n_attributes, n_labels, utility, cap, share):
    options = BalanceOptions()
    table = random_table(seed, n, n_attributes, n_labels, utility)
    cells, moments = moments_of(table, options)
    reference = Reference(table, options)
    bound = largest_retention(moments, cap)
    assert bound.lower <= bound.upper + 1e-6 and bound.upper - bound.lower < 1e-4
    assert bound.lower == pytest.approx(reference.largest_retention(cap), abs=2e-5)
    retention = share * bound.lower
    assume(retention > 0.01)
    solution = solve(moments, retention, cap)
    objective, weight = reference.solve(retention, cap)
    assert solution.relative_gap == pytest.approx(0, abs=1e-8) and solution.converged
    assert solution.objective == pytest.approx(objective, rel=1e-6, abs=1e-9)
    assert excess(moments, solution) < 1e-9
    assert (solution.weight >= 0).all() and (solution.weight <= cap).all()
    owner = cells.find(_codes(cells, table))
    assert np.abs(solution.weight[owner] - weight).max() < 1e-4


def _codes(cells, table):
    return RowCoder(cells.columns, cells.utility_bits).encode(table.combine_chunks().to_batches()[0], "table")[0]


@settings(max_examples=8, deadline=None)
@given(**PROBLEMS)
def test_infeasible_requests_agree_with_an_independent_solver(seed, n, n_attributes, n_labels, utility, cap):
    options = BalanceOptions()
    table = random_table(seed, n, n_attributes, n_labels, utility)
    _, moments = moments_of(table, options)
    bound = largest_retention(moments, cap)
    reference = Reference(table, options)
    if bound.upper < 0.97:
        assert reference.least_violation(bound.upper + 0.01, cap) > 1e-5
        penalised = solve(moments, bound.upper + 0.01, cap, PENALTY)
        assert excess(moments, penalised) > 1e-6  # no weights hold all constraints
    if bound.lower > 0.03:
        assert reference.least_violation(bound.lower - 0.01, cap) < 1e-7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_penalised_optimum_agrees_when_constraints_cannot_hold(seed):
    options = BalanceOptions()
    table = random_table(seed, 300, 2, 4, True)
    _, moments = moments_of(table, options)
    for price in (0.05, 1.0, PENALTY):
        solution = solve(moments, 0.97, 1.0, price)
        objective, _ = Reference(table, options).solve(0.97, 1.0, price)
        assert solution.converged
        assert solution.objective == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize(("n", "n_attributes", "n_labels", "cap"), [(1000, 6, 8, 2.0), (5000, 1, 40, 1.0)])
def test_agrees_at_the_largest_sizes(n, n_attributes, n_labels, cap):
    options = BalanceOptions()
    table = random_table(3, n, n_attributes, n_labels, True)
    _, moments = moments_of(table, options)
    retention = 0.8 * largest_retention(moments, cap).lower
    solution = solve(moments, retention, cap)
    assert solution.converged and excess(moments, solution) < 1e-9
    assert solution.objective == pytest.approx(Reference(table, options).solve(retention, cap)[0], rel=1e-6)


def test_any_multipliers_bound_the_optimum_from_below():
    _, moments = moments_of(random_table(5, 200, 2, 3, False), BalanceOptions())
    retention = 0.9 * largest_retention(moments, 1.0).lower
    best = solve(moments, retention, 1.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        nu = best.multiplier + rng.normal(0, 0.3, moments.n_moments)
        other = certify_multipliers(moments, retention, 1.0, np.inf, nu, best.mean_multiplier + rng.normal(0, 0.1))
        assert other.dual_bound <= best.objective + 1e-12


def test_row_order_duplication_and_names_do_not_matter():
    table = random_table(7, 400, 2, 4, True)
    options = BalanceOptions()

    def objective(variant: pa.Table) -> float:
        return solve(moments_of(variant, options)[1], retention, 1.0).objective

    retention = 0.9 * largest_retention(moments_of(table, options)[1], 1.0).lower
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    renamed = table.rename_columns(
        [name.replace("y0", "zz").replace("a0", "b9") for name in table.column_names]
    ).select(range(table.num_columns - 1, -1, -1))
    assert objective(shuffled) == objective(table)
    assert objective(pa.concat_tables([table] * 3)) == pytest.approx(objective(table), rel=1e-12)
    assert objective(renamed) == pytest.approx(objective(table), rel=1e-12)


def test_data_that_are_balanced_keep_every_weight():
    table = pa.table({
        "sensitive.a.yes": [True, True, False, False] * 10,
        "target.y": [True, False, True, False] * 10,
    })  # fmt: skip
    _, moments = moments_of(table, BalanceOptions())
    bound = largest_retention(moments, 1.0)
    assert bound.lower == bound.upper == 1.0
    solution = solve(moments, 1.0, 1.0)
    assert solution.objective == 0 and (solution.weight == 1).all()


def test_a_label_that_only_one_group_has_costs_exactly_its_rows():
    # y occurs with a only: the only balanced weights drop every row with y, up to the tolerance
    table = pa.table({
        "sensitive.a.yes": [True] * 50 + [False] * 40,
        "target.y": [True] * 10 + [False] * 80,
    })  # fmt: skip
    _, moments = moments_of(table, BalanceOptions(eps_rep=0.0, eps_rel=0.0))
    assert largest_retention(moments, 1.0).lower == pytest.approx(80 / 90, abs=2e-5)


def test_tolerance_zero_is_met_to_a_millionth():
    _, moments = moments_of(random_table(11, 400, 2, 4, True), BalanceOptions(eps_rep=0.0, eps_rel=0.0))
    solution = solve(moments, 0.9 * largest_retention(moments, 1.0).lower, 1.0)
    assert moments.residual(solution.weight, solution.retention).max() <= 1.001e-6


def test_a_warm_start_reaches_the_same_optimum_with_fewer_steps():
    _, moments = moments_of(random_table(13, 2000, 3, 8, True), BalanceOptions())
    retention = 0.7 * largest_retention(moments, 1.0).lower
    cold = solve(moments, retention, 1.0)
    near = solve(moments, retention * 1.002, 1.0)
    warm = solve(moments, retention, 1.0, start=near)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-10)
    assert warm.steps - near.steps < cold.steps


def test_binning_utilities_costs_no_more_than_its_bound():
    rng = np.random.default_rng(2)
    table = random_table(17, 3000, 1, 3, False).append_column("utility", pa.array(rng.random(3000), pa.float32()))
    by_bits = {}
    for bits in (3, 24):
        cells = count_cells(Source(table), bits)
        moments = build_moments(cells, contrasts_of(cells, "one_hot", {}), cells.columns.target, BalanceOptions())
        by_bits[bits] = solve(moments, 0.4, 1.0).weight[cells.find(_codes(cells, table))]
    error = np.sqrt(np.mean((by_bits[3] - by_bits[24]) ** 2))
    assert 0 < error <= 0.4 / 2 ** (3 + 1)
