"""What all strategies share: the weights that they return, the largest retention, and why constraints cannot hold.

A strategy is a module of this package: its name is the strategy's name, the first line of its docstring describes it,
and its function ``weigh`` takes a `Problem` and returns a `Solution`.
"""

from dataclasses import dataclass

import numpy as np

from evenclip.balance.moments import Moments, Subject
from evenclip.balance.options import BalanceOptions
from evenclip.balance.problem import Problem
from evenclip.balance.realise import Plan
from evenclip.balance.solvers.exact import FEASIBLE_RESIDUAL, GAP_TOLERANCE, PENALTY, Weighting, excess, solve
from evenclip.balance.solvers.largest_retention import AUTO_MARGIN, RetentionBound, largest_retention
from evenclip.errors import InputError

_LEAST_RETENTION = 1e-3  # below it there is nothing left to train on


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
    """A solved problem, with everything that the report contains."""

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
    largest = min(options.largest_weight / factor.max(), 1.0)
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
    retention, bound = choose_retention(moments, options)
    cap = options.largest_weight
    if options.max_copies is not None:
        cap = min(cap, options.max_copies * retention)
    if bound is None or retention <= bound.upper:
        weighting = solve(moments, retention, cap, options.enforcement or np.inf)
        holds = excess(moments, weighting) <= FEASIBLE_RESIDUAL and abs(weighting.relative_gap) <= GAP_TOLERANCE
        if bound is not None or holds:
            return weighting, bound
        bound = largest_retention(moments, cap)
        if retention <= bound.upper:
            return weighting, bound
    if not options.allow_infeasible:
        raise _infeasible(moments, options, cap, bound)
    return solve(moments, retention, cap, options.enforcement or PENALTY), bound


def choose_retention(moments: Moments, options: BalanceOptions) -> tuple[float, RetentionBound | None]:
    """The retention asked for; for ``auto`` the largest feasible one less a thousandth, and its bound.

    Where no retention is feasible and ``allow_infeasible`` is on, ``auto`` is 1.

    Raises
    ------
    InputError
        No retention satisfies the constraints.
    """
    if options.retention != "auto":
        return options.retention, None
    cap = options.largest_weight
    bound = largest_retention(moments, cap)
    retention = bound.lower if bound.lower >= 1.0 else bound.lower * (1 - AUTO_MARGIN)
    if retention < _LEAST_RETENTION:
        if not options.allow_infeasible:
            raise _infeasible(moments, options, cap, bound)
        return 1.0, bound
    if options.max_copies is not None and options.max_copies * retention < cap:
        # feasibility depends on the largest weight relative to the mean weight alone
        tighter = largest_retention(moments, options.max_copies)
        if tighter.lower < 1.0:
            least = options.max_copies / max(tighter.lower, 1e-9)
            advice = _what_would_help(moments, options.max_copies, tighter, "max_copies")
            raise InputError(
                f"balance needs rows shown {least:.3g} times per epoch; {_blocking(moments, tighter)} costs most",
                "max_copies",
                f"allow {np.ceil(least):g} copies, or {advice}",
            )
    return retention, bound


def _infeasible(moments: Moments, options: BalanceOptions, cap: float, bound: RetentionBound) -> InputError:
    retention = bound.lower if options.retention == "auto" else options.retention
    where = "retention"
    if bound.lower < _LEAST_RETENTION:
        what = f"no retention satisfies the constraints (the largest is {bound.lower:.2g})"
        where, retention = "labels", 1.0
    else:
        what = f"the constraints cannot hold at retention {retention:g}"
    least = solve(moments, retention, cap, PENALTY)
    worst = "; ".join(_describe(moments, least, j) for j in _worst_moments(moments, least))
    largest = f"the largest feasible retention is {_floor(bound.lower)}; "
    advice = largest + _what_would_help(moments, cap, bound)
    return InputError(f"{what}: {worst or _blocking(moments, bound)}", where, advice)


def blocking(balanced: Balanced) -> Subject | None:
    """The moment whose constraint costs most: retention where its bound was computed, else objective.

    None if no constraint costs anything.
    """
    moments, bound = balanced.problem.moments, balanced.solution.bound
    proof = bound or balanced.solution.weighting
    if proof is None or (bound and bound.lower >= 1.0) or not proof.multiplier.any():
        return None
    return _blocking(moments, proof)


def _blocking(moments: Moments, proof: RetentionBound | Weighting) -> Subject:
    return moments.subjects[int((np.abs(proof.multiplier) * moments.size).argmax())]


def _worst_moments(moments: Moments, weighting: Weighting, most: int = 3) -> list[int]:
    over = moments.residual(weighting.weight, weighting.retention) - moments.tolerance
    relative = over / np.maximum(moments.size, 1e-12)
    return [int(j) for j in np.argsort(-relative)[:most] if relative[j] > FEASIBLE_RESIDUAL]


def _describe(moments: Moments, weighting: Weighting, j: int) -> str:
    residual = moments.residual(weighting.weight, weighting.retention)[j]
    return f"{moments.subjects[j]} is left with {residual:.2g} (tolerance {moments.tolerance[j]:.2g})"


def _what_would_help(moments: Moments, cap: float, bound: RetentionBound, option: str = "cap") -> str:
    """The largest retention that each of several changes would allow; ``option`` is what the cap comes from."""

    def largest(changed: Moments, cap: float = cap) -> str:
        return _floor(largest_retention(changed, cap).lower)

    advice = f"{option} {2 * cap:g} would allow {largest(moments, 2 * cap)}, tolerances twice as wide "
    advice += largest(moments.loosened(2, "representation", "association"))
    if moments.of_kind("kept share").any():
        advice += f", preserve_tolerance twice as wide {largest(moments.loosened(2, 'kept share'))}"
    labels = {subject.label: 0.0 for subject in moments.subjects if subject.label}
    for subject, cost in zip(moments.subjects, np.abs(bound.multiplier) * moments.size, strict=True):
        if subject.label:
            labels[subject.label] += cost
    label = max(labels, key=labels.get, default=None)
    if label and labels[label] > 0 and len(labels) > 1:
        advice += f", without the label {label} {largest(moments.without_label(label))}"
    return f"{advice}; --allow-infeasible returns the least violation"


def _floor(share: float) -> str:
    return f"{np.floor(share * 1e4) / 1e4:g}"
