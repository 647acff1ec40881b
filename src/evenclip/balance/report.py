"""What report.json says: certificate, feasibility, bias before and after, what is left, and warnings."""

from typing import Any

import numpy as np

from evenclip.balance.kept import kept_shares, warnings_of, worst_label
from evenclip.balance.moments import Moments, label_matrix
from evenclip.balance.problem import Problem, bias_of_cells, listed
from evenclip.balance.realise import Plan
from evenclip.balance.solvers.exact import FEASIBLE_RESIDUAL
from evenclip.balance.strategies.base import Balanced, blocking
from evenclip.bias import Bias
from evenclip.label_columns import LabelColumn


def describe(balanced: Balanced) -> dict[str, Any]:
    """The fields of report.json (architecture.md section 4), without seconds and memory.

    `*_before` is the data as it came, `*_after` the data under the solved weights, `realised_*` the data with every
    row shown `copies` times. `associations` are differences of P(label | group). `kept` is what is left of each label,
    group and pair, worst first. What cannot be measured is None.
    """
    problem, plan = balanced.problem, balanced.solution.plan
    cells, moments, options = problem.cells, problem.moments, problem.options
    labels = label_matrix(cells, problem.labels)
    stages = {"before": cells.count, "after": cells.count * balanced.weight, "realised": plan.copies}
    bias = {stage: bias_of_cells(problem.contrasts, labels, mass.astype(float)) for stage, mass in stages.items()}
    retention = moments.mean(balanced.weight)
    residual = moments.residual(balanced.weight, retention)
    over = (residual - moments.tolerance) / np.maximum(moments.size, 1e-12)
    weighting, bound = balanced.solution.weighting, balanced.solution.bound
    squares = plan.kept * plan.weight**2
    ess = float((plan.kept * plan.weight).sum()) ** 2 / float(squares.sum())
    kept = kept_shares(problem.contrasts, problem.label_names, labels, cells.count, stages, squares)
    dropped = problem.dropped
    warnings = [f"left out, because they cannot be balanced: {listed(dropped)}"] if dropped else []
    warnings += warnings_of(kept, retention, plan.most_copies, options.preserve == "labels")
    return {
        "strategy": options.strategy,
        "objective": weighting.objective if weighting else None,
        "dual_bound": weighting.dual_bound if weighting else None,
        "relative_gap": weighting.relative_gap if weighting else None,
        "converged": weighting.converged if weighting else True,
        "feasible": bool(over.max() <= FEASIBLE_RESIDUAL),
        "retention": retention,
        "largest_retention": bound.lower if bound else None,
        "max_representation_residual": _largest(moments, residual, "representation"),
        "max_association_residual": _largest(moments, residual, "association"),
        "max_kept_share_residual": _largest(moments, residual, "kept share"),
        "blocking_pair": _blocking_pair(balanced),
        "rb_before": number(bias["before"].rb),
        "rb_after": number(bias["after"].rb),
        "realised_rb": number(bias["realised"].rb),
        "ab_before": number(bias["before"].ab),
        "ab_after": number(bias["after"].ab),
        "realised_ab": number(bias["realised"].ab),
        "ess": ess,
        "design_effect": cells.n / ess,
        "shown_share": _shown(plan),
        "most_copies": plan.most_copies,
        "kept_min": worst_label(kept)["kept"],
        "n": cells.n,
        "n_cells": len(cells),
        "groups": _groups(problem, bias),
        "associations": _associations(problem, bias),
        "kept": kept,
        "dropped": [{"name": entry.name, "reason": entry.reason} for entry in dropped],
        "warnings": warnings,
    }


def _largest(moments: Moments, residual: np.ndarray, kind: str) -> float | None:
    """The largest residual of one kind of moments; None where there are none."""
    chosen = residual[moments.of_kind(kind)]
    return float(chosen.max()) if len(chosen) else None


def _blocking_pair(balanced: Balanced) -> dict[str, str | None] | None:
    """Group, label and kind of the constraint that costs most; see `evenclip.balance.moments.Subject`."""
    subject = blocking(balanced)
    return {"attribute": subject.group, "label": subject.label, "constraint": subject.kind} if subject else None


def _shown(plan: Plan) -> float:
    """Share of the rows that are shown at least once."""
    return float(np.minimum(plan.copies, plan.kept).sum() / plan.count.sum())


def _groups(problem: Problem, bias: dict[str, Bias]) -> list[dict[str, Any]]:
    rows, cells = [], problem.cells
    columns = {LabelColumn.parse(column).short_name: column for column in cells.columns.sensitive}
    for k, contrast in enumerate(problem.contrasts):
        counts = {
            f"n_{side}": int(cells.count[mask].sum())
            for side, mask in (("inside", contrast.inside), ("outside", contrast.outside))
        }
        counts["n_not_known"] = int(cells.count[~cells.is_known(columns[contrast.name])].sum())
        shares = {f"share_{name}": number(measured.share[k]) for name, measured in bias.items()}
        rows.append({"group": contrast.name, "coding": contrast.coding, "target": contrast.target} | counts | shares)
    return rows


def _associations(problem: Problem, bias: dict[str, Bias]) -> list[dict[str, Any]]:
    names = problem.label_names
    return [
        {"group": contrast.name, "label": names[r]}
        | {stage: number(measured.association[k, r]) for stage, measured in bias.items()}
        for k, contrast in enumerate(problem.contrasts)
        for r in range(len(names))
    ]


def number(value: float) -> float | None:
    """A float for JSON: None where there was nothing to measure."""
    return float(value) if np.isfinite(value) else None
