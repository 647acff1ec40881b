"""What balance costs at many settings, to choose from: bias, kept shares, effective sample size and copies.

`evenclip balance LABELS.parquet --out DIR --frontier [--grid cap=[1,5]]` adds `frontier.csv`, `frontier.json` and
`frontier.png` to the folder.

Weights relative to their mean, p = q / eta, depend on cap and retention through their quotient alone: min E[(p - u)^2]
/ 2 s.t. E[p] = 1, 0 <= p <= Q / eta and |E[p a_j]| <= eps_j. So the grid is solved at mean 1, once per quotient, each
solve starting from the one before.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from evenclip.balance.kept import kept_shares, worst_label
from evenclip.balance.moments import Moments, build_moments, label_matrix
from evenclip.balance.options import Cap, Tolerance
from evenclip.balance.problem import Problem, bias_of_cells, make_problem
from evenclip.balance.solvers.exact import Weighting, solve
from evenclip.balance.solvers.largest_retention import AUTO_MARGIN, largest_retention
from evenclip.balance.strategies.base import Balanced
from evenclip.options import Options

_LARGEST_CAP = 1000.0  # a set of constraints that needs larger weights is called infeasible


class FrontierGrid(Options):
    """The settings that a frontier compares: every combination of one value of each."""

    preserve_tolerance: list[Tolerance | None] = [None, 0.5, 0.25, 0.1]
    """How much of its share a label may lose or gain; null = labels are not preserved."""
    cap: list[Cap] = [1.0, 2.0, 5.0, 10.0, 20.0]
    """Largest weight."""
    eps_rel: list[Tolerance] = [0.05, 0.2, 0.5]
    """Tolerance on associations."""
    retention: list[Annotated[float, Field(gt=0, le=1)]] = [1.0, 0.8]
    """Mean weight, as a share of the largest feasible one; in (0, 1]."""


def frontier(balanced: Balanced, grid: FrontierGrid) -> list[dict[str, Any]]:
    """The points of a grid, after the point that was chosen.

    All points are measured on the labels that can be both balanced and preserved.

    Parameters
    ----------
    balanced : Balanced
        The chosen weights.
    grid : FrontierGrid

    Returns
    -------
    list of dict
        Settings, `retention`, `rb`, `ab`, `kept` (of the worst label) and its name, `ess` as a share of the rows,
        `copies` (the largest weight over the mean) and `chosen`. What cannot be satisfied has null for results.
    """
    chosen = balanced.problem
    options = chosen.options.model_copy(update={"preserve": "labels", "strict": False})
    problem = make_problem(chosen.cells, options, chosen.seed, "the frontier")
    measure = _Measure(problem)
    given = chosen.options
    settings = {
        "preserve_tolerance": given.preserve_tolerance if given.preserve == "labels" else None,
        "cap": given.largest_weight,
        "eps_rel": given.eps_rel,
    }
    mean = balanced.problem.moments.mean(balanced.weight)
    points = [settings | {"retention": mean, "chosen": True} | measure(balanced.weight / mean)]
    for tolerance in grid.preserve_tolerance:
        for eps_rel in grid.eps_rel:
            points += _points(problem, measure, tolerance, eps_rel, grid)
    return points


def _points(
    problem: Problem, measure: "_Measure", tolerance: float | None, eps_rel: float, grid: FrontierGrid
) -> Iterator[dict[str, Any]]:
    """The points of one set of constraints."""
    changes = {"preserve": "none"} if tolerance is None else {"preserve": "labels", "preserve_tolerance": tolerance}
    options = problem.options.model_copy(update=changes | {"eps_rel": eps_rel})
    moments = build_moments(problem.cells, problem.contrasts, problem.labels + problem.proxies, options)
    bound = largest_retention(moments, 1.0)
    needed = 1.0 / bound.lower if bound.lower > 1.0 / _LARGEST_CAP else np.inf  # smallest possible largest weight
    solved = _Path(moments)
    for cap, share in sorted((cap, share) for cap in grid.cap for share in grid.retention):
        settings = {"preserve_tolerance": tolerance, "cap": cap, "eps_rel": eps_rel}
        retention = share * min(1.0, cap / needed * (1 - AUTO_MARGIN * (cap <= needed)))
        if not np.isfinite(needed):
            yield settings | {"retention": None, "chosen": False} | dict.fromkeys(_RESULTS)
            continue
        yield settings | {"retention": retention, "chosen": False} | measure(solved(cap / retention))


class _Path:
    """Weights with mean 1 at rising caps, each solve warm-started by the nearest one before."""

    def __init__(self, moments: Moments):
        self.moments, self.solved = moments, {}

    def __call__(self, cap: float) -> np.ndarray:
        for other, weighting in self.solved.items():
            # the cap does not bind where no weight is at it: then it is the optimum for all caps above its largest
            if abs(other - cap) <= 1e-9 * cap or weighting.weight.max() < min(other, cap) * (1 - 1e-9):
                return weighting.weight
        nearest: Weighting | None = None
        if self.solved:
            nearest = self.solved[min(self.solved, key=lambda other: abs(np.log(other / cap)))]
        self.solved[cap] = solve(self.moments, 1.0, cap, start=nearest)
        return self.solved[cap].weight


class _Measure:
    """Bias, kept shares and spread of weights with mean 1."""

    def __init__(self, problem: Problem):
        self.problem, self.labels = problem, label_matrix(problem.cells, problem.labels)

    def __call__(self, weight: np.ndarray) -> dict[str, Any]:
        problem, count = self.problem, self.problem.cells.count
        bias = bias_of_cells(problem.contrasts, self.labels, count * weight)
        stages = {"before": count, "after": count * weight}
        kept = kept_shares(problem.contrasts, problem.label_names, self.labels, count, stages, count * weight**2)
        worst = worst_label(kept)
        ess = float((count @ weight) ** 2 / (count @ weight**2) / count.sum())
        values = [float(bias.rb), float(bias.ab), worst["kept"], worst["label"], ess, float(weight.max())]
        return dict(zip(_RESULTS, values, strict=True))


_RESULTS = ("rb", "ab", "kept", "worst_label", "ess", "copies")


def write_frontier(points: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `frontier.csv`, `frontier.json` and `frontier.png` into ``folder``; the picture needs matplotlib."""
    from matplotlib.figure import Figure

    with (folder / "frontier.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(points[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in point.items()} for point in points)
    (folder / "frontier.json").write_text(json.dumps(list(points), indent=1) + "\n", encoding="utf-8")
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    _draw(figure, points)
    figure.savefig(folder / "frontier.png", dpi=120, metadata={"Software": None})


def _draw(figure: Any, points: Sequence[Mapping[str, Any]]) -> None:
    """Three panels over the kept share of the worst label: a colour per tolerance, a marker per eps_rel."""
    feasible = [point for point in points if point["kept"] is not None]
    compared = [point for point in feasible if not point["chosen"]]
    tolerances = list(dict.fromkeys(point["preserve_tolerance"] for point in compared))
    colors = {tolerance: f"C{number}" for number, tolerance in enumerate(tolerances)}
    markers = dict(zip(sorted({point["eps_rel"] for point in compared}), "os^Dv<>P", strict=False))
    hollow = {"linestyle": "", "fillstyle": "none", "markersize": 6, "markeredgewidth": 1.2}  # shows what lies below
    panels = {"ab": "association bias (AB)", "ess": "effective sample size / rows", "copies": "most copies of a row"}
    for axes, (field, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for point in compared:
            color, marker = colors[point["preserve_tolerance"]], markers.get(point["eps_rel"], "x")
            axes.plot(point["kept"], point[field], marker=marker, color=color, **hollow)
        for point in feasible:
            if point["chosen"]:
                axes.plot(point["kept"], point[field], "*", color="black", markersize=12, clip_on=False, zorder=3)
        axes.set_xlabel("kept share of the worst label")
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, max(1.05, axes.get_xlim()[1]))
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.grid(color="0.9", linewidth=0.6)
    names = {"not preserved" if t is None else f"preserved within {t:g}": colors[t] for t in tolerances}
    handles = [axes.plot([], [], marker="s", color=c, linestyle="", label=name)[0] for name, c in names.items()]
    handles += [
        axes.plot([], [], marker=m, color="0.3", label=f"eps_rel {e:g}", **hollow)[0] for e, m in markers.items()
    ]
    handles += axes.plot([], [], "*", color="black", markersize=11, label="chosen")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
