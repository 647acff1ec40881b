"""The figures' common style, and the marks that several of them share.

Colours are Okabe and Ito's, safe for colour-blind readers, and every run has a marker shape of its own as well. One
figure = one panel, so that figures stack on a phone and stay readable.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from evenclip.results import Estimate, RunResult, StudyResults

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe-Ito without yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
GREY = "#666666"
WIDTH_IN, PNG_DPI = 4.8, 200
LEGEND_LETTERS, LEGEND_ROW_IN = 60, 0.2  # across a legend, a marker counting as eight; height of its rows
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "evenclip",  # equal results give equal bytes
}


@dataclass(frozen=True)
class Picture:
    """A finished figure: ``name`` tells it from the others, ``alt`` says in words what it shows."""

    name: str
    alt: str
    svg: bytes
    png: bytes


@contextmanager
def panel(height_in: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one panel in the common style, `WIDTH_IN` inches wide; finish it inside the block."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in))
        yield figure, figure.add_subplot()


def finish(figure: Figure, name: str, alt: str) -> Picture:
    """The figure as SVG and PNG, without dates or versions in them."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Picture(name, alt, svg.getvalue(), png.getvalue())


def run_style(i: int) -> dict[str, Any]:
    """Colour and marker of the study's ``i``-th run; the pair is the run's own among the first 49."""
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[(i + i // len(COLORS)) % len(MARKERS)]}


def line_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the study's ``i``-th run where it is a line."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i // len(COLORS) % len(LINES)]}


def arms(estimate: Estimate) -> np.ndarray | None:
    """Lengths of the two arms of an error bar, shape (2, 1); None where there is no interval."""
    lengths = np.array([[estimate.mean - estimate.ci_low], [estimate.ci_high - estimate.mean]])
    return np.maximum(lengths, 0) if np.isfinite(lengths).all() else None


def draw_run(axes: Axes, study: StudyResults, i: int, metric: str, y: float) -> None:
    """Mean and interval of the ``i``-th run at height ``y``; nothing where the metric is not defined."""
    estimate = study.estimate(study.runs[i].name, metric)
    if estimate:
        draw_estimate(axes, i, estimate, y)


def draw_estimate(axes: Axes, i: int, estimate: Estimate, y: float) -> None:
    """A value and its interval in the look of the ``i``-th run, at height ``y``."""
    axes.errorbar(estimate.mean, y, xerr=arms(estimate), **run_style(i), markersize=7, elinewidth=1.5)


def draw_seeds(axes: Axes, study: StudyResults, i: int, metric: str, y: float) -> None:
    """The seeds of the ``i``-th run as small points below ``y``, each with its own interval over examples."""
    for k, seed in enumerate(seed_estimates(study, study.runs[i], metric)):
        style = run_style(i) | {"markersize": 3.5, "elinewidth": 0.8, "alpha": 0.5}
        axes.errorbar(seed.mean, y + 0.1 * (k % 3), xerr=arms(seed), **style)


def draw_chance(axes: Axes, study: StudyResults, metric: str) -> None:
    """A dotted line at what a model that knows nothing scores, where that has a meaning."""
    estimates = (study.estimate(run.name, metric) for run in study.runs)
    chance = [estimate.random for estimate in estimates if estimate and np.isfinite(estimate.random)]
    if chance:
        axes.axvline(chance[0], color="#000000", linewidth=1.1, linestyle=":")
        position = {"xycoords": ("data", "axes fraction"), "xytext": (3, -1), "textcoords": "offset points"}
        axes.annotate("chance", (chance[0], 1), **position, va="top", fontsize=8.5, color=GREY)


def seed_estimates(study: StudyResults, run: RunResult, metric: str) -> list[Estimate]:
    """A metric of every seed of a run that has it."""
    estimates = (study.seed_estimate(run.name, seed, metric) for seed in run.seeds)
    return [estimate for estimate in estimates if estimate]


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows 0, 1, ... from the top, each with its name instead of a tick."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def name_runs(
    figure: Figure, study: StudyResults, markers: bool = True, lines: bool = False, only: Sequence[int] | None = None
) -> None:
    """Legend below the panel, which grows by it: each run, or ``only`` some, by its marker, its line or both."""
    indices = range(len(study.runs)) if only is None else only
    handles = []
    for i in indices:
        look = run_style(i) | (line_style(i) if lines else {"linestyle": ""}) | ({} if markers else {"marker": ""})
        handles.append(Line2D([], [], **look, markersize=7, label=study.runs[i].name))
    longest = max(len(study.runs[i].name) for i in indices)
    n_columns = min(3, len(handles), max(LEGEND_LETTERS // (longest + 8), 1))
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_IN * (-(-len(handles) // n_columns) - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns)


def frame(study: StudyResults, *metrics: str, zero: bool = False, chance: bool = True) -> tuple[float, float]:
    """Limits of an axis: all seeds with their own intervals, and ``chance``; from 0 on where ``zero``.

    The interval over a few seeds may be so wide that it says only that they are few; it may leave the frame.
    """
    seeds = [seed for m in metrics for run in study.runs for seed in seed_estimates(study, run, m)]
    values = np.array([[seed.mean, seed.ci_low, seed.ci_high, *([seed.random] if chance else [])] for seed in seeds])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0, 1)
    margin = max(0.06 * (high - low), 0.01)
    return (0 if zero else max(low - margin, -0.01)), min(high + margin, 1.01)  # all of these metrics are shares
