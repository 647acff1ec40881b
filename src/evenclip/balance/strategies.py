"""The strategies: from cells to weights of cells, one function each, all behind `weigh`."""

from dataclasses import dataclass, replace

import numpy as np

from evenclip.balance.cells import Cells
from evenclip.balance.exact import (
    AUTO_MARGIN,
    FEASIBLE_RESIDUAL,
    PENALTY,
    RetentionBound,
    Weighting,
    largest_retention,
    solve,
)
from evenclip.balance.groups import Contrast, check_contrasts, contrasts
from evenclip.balance.moments import Moments, build_moments
from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan
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
    found = contrasts(cells, options.attribute_coding, options.target)
    check_contrasts(cells, found, where)
    moments = build_moments(cells, found, options)
    plan, weighting, bound = _STRATEGIES[options.strategy](cells, moments, options, seed)
    return Balanced(cells, found, moments, plan, weighting, bound)


def _none(cells: Cells, moments: Moments, options: BalanceOptions, seed: int):
    return Plan.of_weights(cells.count, np.ones(len(cells)), seed), None, None


def _random_subsample(cells: Cells, moments: Moments, options: BalanceOptions, seed: int):
    retention, bound = _retention(moments, _lenient(options))
    return Plan.of_subsample(cells.count, retention, seed), None, bound


def _m4(cells: Cells, moments: Moments, options: BalanceOptions, seed: int):
    retention, bound = _retention(moments, options)
    feasible = bound is None or retention <= bound.upper
    price = options.enforcement or (np.inf if feasible else PENALTY)
    weighting = solve(moments, retention, options.cap, price)
    return Plan.of_weights(cells.count, weighting.weight, seed), weighting, bound


_STRATEGIES = {"none": _none, "random_subsample": _random_subsample, "m4": _m4}


def _lenient(options: BalanceOptions) -> BalanceOptions:
    """The options with `allow_infeasible`: a blind subsample has no constraints to hold."""
    return options.model_copy(update={"allow_infeasible": True})


def _retention(moments: Moments, options: BalanceOptions) -> tuple[float, RetentionBound]:
    """The retention to use, after the check that the constraints can hold at it."""
    bound = largest_retention(moments, options.cap)
    if options.retention == "auto":
        retention = bound.lower if bound.lower >= 1.0 else bound.lower * (1 - AUTO_MARGIN)
        if retention >= _LEAST_RETENTION:
            return retention, bound
        raise InputError(
            f"no retention satisfies the constraints (the largest is {bound.lower:.2g})",
            "retention",
            _what_would_help(moments, options, bound),
        )
    if options.retention > bound.upper and not options.allow_infeasible:
        worst = solve(moments, options.retention, options.cap, PENALTY)
        pairs = "; ".join(_describe(moments, worst, j) for j in _worst_moments(moments, worst))
        raise InputError(
            f"the constraints cannot hold at retention {options.retention:g}: {pairs}",
            "retention",
            f"the largest feasible retention is {_floor(bound.lower)}; {_what_would_help(moments, options, bound)}",
        )
    return float(options.retention), bound


def blocking_pair(moments: Moments, bound: RetentionBound | None) -> dict[str, str | None] | None:
    """The attribute-label pair whose constraint costs most retention; None if nothing blocks full retention.

    The label is None where the constraint is the group's share itself.
    """
    if bound is None or bound.lower >= 1.0:
        return None
    cost = np.abs(bound.multiplier) * moments.size
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
