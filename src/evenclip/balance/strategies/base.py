"""What all strategies share: the problem that they are given, the weights that they return, and the largest retention.

A strategy is a module of this package: its name is the strategy's name, the first line of its docstring describes it,
and its function ``weigh`` takes a `Problem` and returns a `Solution`.
"""

from dataclasses import dataclass, replace

import numpy as np

from evenclip.balance.moments import Moments
from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan
from evenclip.balance.solvers.exact import (
    AUTO_MARGIN,
    FEASIBLE_RESIDUAL,
    GAP_TOLERANCE,
    PENALTY,
    RetentionBound,
    Weighting,
    excess,
    largest_retention,
    solve,
)
from evenclip.balance.table.cells import Cells
from evenclip.bias import Contrast
from evenclip.errors import InputError

_LEAST_RETENTION = 1e-3  # below it there is nothing left to train on


@dataclass(frozen=True)
class Problem:
    """What a strategy is given.

    Attributes
    ----------
    cells : Cells
        Unique rows of the labels table with their counts.
    contrasts : list of Contrast
        Groups and what they are compared with, over the cells.
    moments : Moments
        What M4 matches, with tolerances.
    options : BalanceOptions
    seed : int
        Of everything random.
    """

    cells: Cells
    contrasts: list[Contrast]
    moments: Moments
    options: BalanceOptions
    seed: int


@dataclass(frozen=True)
class Solution:
    """What a strategy returns.

    Attributes
    ----------
    plan : Plan
        Weights and copies of rows.
    weighting : Weighting or None
        Certificate; None where the strategy optimises nothing.
    bound : RetentionBound or None
        The largest feasible retention, where it was computed.
    """

    plan: Plan
    weighting: Weighting | None = None
    bound: RetentionBound | None = None


@dataclass(frozen=True)
class Balanced:
    """A solved problem: all that a report tells."""

    problem: Problem
    solution: Solution

    @property
    def weight(self) -> np.ndarray:
        """Shape (n_cells,): mean weight of each cell's rows."""
        plan = self.solution.plan
        return plan.weight * plan.kept / plan.count


def scaled(problem: Problem, factor: np.ndarray) -> Solution:
    """Weights in proportion to ``factor``, shape (n_cells,), mean 1, at the retention asked for or the largest one.

    Raises
    ------
    InputError
        The cap is too small for the retention asked for.
    """
    options = problem.options
    largest = min(options.cap / factor.max(), 1.0)
    retention = largest if options.retention == "auto" else options.retention
    if retention > largest * (1 + 1e-12):
        raise InputError(
            f"{options.strategy} needs weights up to {retention * factor.max():.3g} at retention {retention:g}",
            "cap",
            f"raise the cap, or ask for a retention of at most {_floor(largest)}",
        )
    return Solution(Plan.of_weights(problem.cells.count, retention * factor, problem.seed))


def solve_moments(moments: Moments, options: BalanceOptions) -> tuple[Weighting, RetentionBound | None]:
    """Weights that match the moments, at the retention asked for, and the largest retention where it was computed.

    Raises
    ------
    InputError
        The constraints cannot hold at the retention asked for, and ``allow_infeasible`` is off.
    """
    if options.retention == "auto":
        retention, bound = choose_retention(moments, options)
        return solve(moments, retention, options.cap, options.enforcement or np.inf), bound
    weighting = solve(moments, options.retention, options.cap, options.enforcement or np.inf)
    if excess(moments, weighting) <= FEASIBLE_RESIDUAL and abs(weighting.relative_gap) <= GAP_TOLERANCE:
        return weighting, None
    bound = largest_retention(moments, options.cap)
    if options.retention > bound.upper:
        if not options.allow_infeasible:
            raise _infeasible(moments, options, bound)
        weighting = solve(moments, options.retention, options.cap, options.enforcement or PENALTY)
    return weighting, bound


def choose_retention(moments: Moments, options: BalanceOptions) -> tuple[float, RetentionBound | None]:
    """The retention asked for; for ``auto`` the largest feasible one less a thousandth, and its bound."""
    if options.retention != "auto":
        return options.retention, None
    bound = largest_retention(moments, options.cap)
    return _auto_retention(moments, options, bound), bound


def _auto_retention(moments: Moments, options: BalanceOptions, bound: RetentionBound) -> float:
    retention = bound.lower if bound.lower >= 1.0 else bound.lower * (1 - AUTO_MARGIN)
    if retention < _LEAST_RETENTION:
        raise InputError(
            f"no retention satisfies the constraints (the largest is {bound.lower:.2g})",
            "retention",
            _what_would_help(moments, options, bound),
        )
    return retention


def _infeasible(moments: Moments, options: BalanceOptions, bound: RetentionBound) -> InputError:
    least = solve(moments, options.retention, options.cap, PENALTY)
    pairs = "; ".join(_describe(moments, least, j) for j in _worst_moments(moments, least))
    return InputError(
        f"the constraints cannot hold at retention {options.retention:g}: {pairs}",
        "retention",
        f"the largest feasible retention is {_floor(bound.lower)}; {_what_would_help(moments, options, bound)}",
    )


def blocking_pair(balanced: Balanced) -> dict[str, str | None] | None:
    """Group and label whose constraint costs most: retention where its bound was computed, else objective.

    None if no constraint costs anything; the label is None where the constraint is the group's share itself.
    """
    moments, bound = balanced.problem.moments, balanced.solution.bound
    proof = bound or balanced.solution.weighting
    if proof is None or (bound and bound.lower >= 1.0) or not proof.multiplier.any():
        return None
    cost = np.abs(proof.multiplier) * moments.size
    k, r = np.unravel_index(int(cost.argmax()), moments.tolerance.shape)
    return {"attribute": moments.group_names[k], "label": moments.label_names[r - 1] if r else None}


def _worst_moments(moments: Moments, weighting: Weighting, most: int = 3) -> list[int]:
    over = moments.residual(weighting.weight, weighting.retention) - moments.tolerance
    relative = over.ravel() / np.maximum(moments.size, 1e-12)
    return [int(j) for j in np.argsort(-relative)[:most] if relative[j] > FEASIBLE_RESIDUAL]


def _describe(moments: Moments, weighting: Weighting, j: int) -> str:
    k, r = np.unravel_index(j, moments.tolerance.shape)
    residual = moments.residual(weighting.weight, weighting.retention)[k, r]
    pair = (
        f"({moments.group_names[k]}, {moments.label_names[r - 1]})" if r else f"the share of {moments.group_names[k]}"
    )
    return f"{pair} is left with {residual:.2g} (tolerance {moments.tolerance[k, r]:.2g})"


def _what_would_help(moments: Moments, options: BalanceOptions, bound: RetentionBound) -> str:
    cap = 2 * options.cap
    wider = largest_retention(moments, cap).lower
    looser = largest_retention(replace(moments, tolerance=2 * moments.tolerance), options.cap).lower
    return (
        f"cap {cap:g} would allow {_floor(wider)}, tolerances twice as wide {_floor(looser)}; "
        "--allow-infeasible returns the least violation"
    )


def _floor(share: float) -> str:
    return f"{np.floor(share * 1e4) / 1e4:g}"
