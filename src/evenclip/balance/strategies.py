"""The strategies: from cells to weights of cells, one function each, all behind `weigh`."""

from dataclasses import dataclass, replace

import numpy as np

from evenclip.balance.baselines import rake, reweigh
from evenclip.balance.groups import check_contrasts, contrasts_of
from evenclip.balance.moments import Moments, build_moments
from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan
from evenclip.balance.solvers.exact import (
    AUTO_MARGIN,
    FEASIBLE_RESIDUAL,
    GAP_TOLERANCE,
    PENALTY,
    RetentionBound,
    Weighting,
    certify_multipliers,
    excess,
    largest_retention,
    solve,
)
from evenclip.balance.stochastic import one_pass
from evenclip.balance.table.cells import Cells
from evenclip.bias import Contrast
from evenclip.errors import InputError

_LEAST_RETENTION = 1e-3  # below it there is nothing left to train on


@dataclass(frozen=True)
class Balanced:
    """Weights of cells and all that a report says about them.

    Attributes
    ----------
    cells : Cells
    contrasts : list of Contrast
    moments : Moments
    plan : Plan
        Weights and copies of rows.
    weighting : Weighting or None
        Certificate; None where the strategy optimises nothing.
    bound : RetentionBound or None
        The largest feasible retention, where it was computed.
    """

    cells: Cells
    contrasts: list[Contrast]
    moments: Moments
    plan: Plan
    weighting: Weighting | None
    bound: RetentionBound | None

    @property
    def weight(self) -> np.ndarray:
        """Shape (n_cells,): mean weight of each cell's rows."""
        return self.plan.weight * self.plan.kept / self.plan.count


def weigh(cells: Cells, options: BalanceOptions, seed: int, where: str) -> Balanced:
    """Weigh cells by ``options.strategy``; ``where`` names the table in errors.

    Raises
    ------
    InputError
        If the table cannot be balanced, or the constraints cannot hold and ``allow_infeasible`` is off.
    """
    found = contrasts_of(cells, options.attribute_coding, options.target)
    check_contrasts(cells, found, where)
    moments = build_moments(cells, found, options)
    plan, weighting, bound = _STRATEGIES[options.strategy](cells, moments, options, seed)
    return Balanced(cells, found, moments, plan, weighting, bound)


_Outcome = tuple[Plan, Weighting | None, RetentionBound | None]


def _none(cells: Cells, moments: Moments, options: BalanceOptions, seed: int) -> _Outcome:
    return Plan.of_weights(cells.count, np.ones(len(cells)), seed), None, None


def _random_subsample(cells: Cells, moments: Moments, options: BalanceOptions, seed: int) -> _Outcome:
    bound = largest_retention(moments, options.cap) if options.retention == "auto" else None
    retention = _auto_retention(moments, options, bound) if bound else options.retention
    return Plan.of_subsample(cells.count, retention, seed), None, bound


def _m4(cells: Cells, moments: Moments, options: BalanceOptions, seed: int) -> _Outcome:
    weighting, bound = (
        _solve_m4(moments, options) if options.solver == "exact" else _stream_m4(cells, moments, options, seed)
    )
    return Plan.of_weights(cells.count, weighting.weight, seed), weighting, bound


def _raking(cells: Cells, moments: Moments, options: BalanceOptions, seed: int) -> _Outcome:
    found = contrasts_of(cells, options.attribute_coding, options.target)
    return _scaled(cells, rake(found, moments.weight), options, seed)


def _reweighing(cells: Cells, moments: Moments, options: BalanceOptions, seed: int) -> _Outcome:
    found = contrasts_of(cells, options.attribute_coding, options.target)
    return _scaled(cells, reweigh(found, moments.labels[:, 1:], moments.weight), options, seed)


_STRATEGIES = {
    "none": _none, "random_subsample": _random_subsample, "m4": _m4, "raking": _raking, "reweighing": _reweighing,
}  # fmt: skip


def _scaled(cells: Cells, factor: np.ndarray, options: BalanceOptions, seed: int) -> _Outcome:
    """Factors with mean 1 as weights of the largest retention that the cap allows, or of the one asked for."""
    largest = min(options.cap / factor.max(), 1.0)
    retention = largest if options.retention == "auto" else options.retention
    if retention > largest * (1 + 1e-12):
        raise InputError(
            f"{options.strategy} needs weights up to {retention * factor.max():.3g} at retention {retention:g}",
            "cap",
            f"raise the cap, or ask for a retention of at most {_floor(largest)}",
        )
    return Plan.of_weights(cells.count, retention * factor, seed), None, None


def _solve_m4(moments: Moments, options: BalanceOptions) -> tuple[Weighting, RetentionBound | None]:
    if options.retention == "auto":
        bound = largest_retention(moments, options.cap)
        retention = _auto_retention(moments, options, bound)
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


def _stream_m4(
    cells: Cells, moments: Moments, options: BalanceOptions, seed: int
) -> tuple[Weighting, RetentionBound | None]:
    bound = largest_retention(moments, options.cap) if options.retention == "auto" else None
    retention = _auto_retention(moments, options, bound) if bound else options.retention
    price = options.enforcement or PENALTY
    dual = one_pass(moments, cells.count, retention, options.cap, price, options.stochastic_step, seed)
    return certify_multipliers(moments, retention, options.cap, price, dual.multiplier, dual.mean_multiplier), bound


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
    """The pair whose constraint costs most (retention where its bound was computed, else objective); None if none does.

    The label is None where the constraint is the group's share itself.
    """
    moments, proof = balanced.moments, balanced.bound or balanced.weighting
    if proof is None or (balanced.bound and balanced.bound.lower >= 1.0) or not proof.multiplier.any():
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
