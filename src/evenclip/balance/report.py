"""What report.json says: certificate, feasibility, bias before and after, and the spread of the weights."""

from typing import Any

import numpy as np

from evenclip.balance.groups import bias_of_cells
from evenclip.balance.moments import label_matrix
from evenclip.balance.realise import Plan
from evenclip.balance.solvers.exact import FEASIBLE_RESIDUAL
from evenclip.balance.strategies.base import Balanced, Problem, blocking_pair
from evenclip.bias import Bias
from evenclip.tables import LabelColumn


def describe(balanced: Balanced) -> dict[str, Any]:
    """The fields of report.json (architecture.md section 4), without strategy, seconds and memory.

    `*_before` is the data as it came, `*_after` the data under the solved weights, `realised_*` the data with every
    row shown `copies` times. `associations` are differences of P(label | group). What cannot be
    measured is None.
    """
    problem, plan = balanced.problem, balanced.solution.plan
    cells, moments = problem.cells, problem.moments
    labels = label_matrix(cells, cells.columns.target)
    stages = {"before": cells.count, "after": cells.count * balanced.weight, "realised": plan.copies}
    bias = {stage: bias_of_cells(problem.contrasts, labels, mass.astype(float)) for stage, mass in stages.items()}
    retention = moments.mean(balanced.weight)
    residual = moments.residual(balanced.weight, retention)
    over = (residual - moments.tolerance).ravel() / np.maximum(moments.size, 1e-12)
    weighting, bound = balanced.solution.weighting, balanced.solution.bound
    square = float((plan.kept * plan.weight**2).sum())
    ess = float((plan.kept * plan.weight).sum()) ** 2 / square
    return {
        "objective": weighting.objective if weighting else None,
        "dual_bound": weighting.dual_bound if weighting else None,
        "relative_gap": weighting.relative_gap if weighting else None,
        "converged": weighting.converged if weighting else True,
        "feasible": bool(over.max() <= FEASIBLE_RESIDUAL),
        "retention": retention,
        "largest_retention": bound.lower if bound else None,
        "max_representation_residual": float(residual[:, 0].max()),
        "max_association_residual": float(residual[:, 1:].max()),
        "blocking_pair": blocking_pair(balanced),
        "rb_before": number(bias["before"].rb),
        "rb_after": number(bias["after"].rb),
        "realised_rb": number(bias["realised"].rb),
        "ab_before": number(bias["before"].ab),
        "ab_after": number(bias["after"].ab),
        "realised_ab": number(bias["realised"].ab),
        "ess": ess,
        "design_effect": cells.n / ess,
        "shown_share": _shown(plan),
        "n": cells.n,
        "n_cells": len(cells),
        "groups": _groups(problem, bias),
        "associations": _associations(problem, bias),
    }


def _shown(plan: Plan) -> float:
    """Share of the rows that are shown at least once."""
    return float(np.minimum(plan.copies, plan.kept).sum() / plan.count.sum())


def _groups(problem: Problem, bias: dict[str, Bias]) -> list[dict[str, Any]]:
    rows = []
    for k, contrast in enumerate(problem.contrasts):
        counts = {
            f"n_{side}": int(problem.cells.count[mask].sum())
            for side, mask in (("inside", contrast.inside), ("outside", contrast.outside))
        }
        shares = {f"share_{name}": number(measured.share[k]) for name, measured in bias.items()}
        rows.append({"group": contrast.name, "coding": contrast.coding, "target": contrast.target} | counts | shares)
    return rows


def _associations(problem: Problem, bias: dict[str, Bias]) -> list[dict[str, Any]]:
    names = [LabelColumn.parse(column).short_name for column in problem.cells.columns.target]
    return [
        {"group": contrast.name, "label": names[r]}
        | {stage: number(measured.association[k, r]) for stage, measured in bias.items()}
        for k, contrast in enumerate(problem.contrasts)
        for r in range(len(names))
    ]


def number(value: float) -> float | None:
    """A float for JSON: None where there was nothing to measure."""
    return float(value) if np.isfinite(value) else None
