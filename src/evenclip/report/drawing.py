"""Common style of the figures, and drawing functions that several of them share.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; each run also has its own marker.
Each figure has one panel, so figures can be stacked on a phone.
"""

import io
import textwrap
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

INK, PAPER, LINE, GREY = "#1a1a1a", "#ffffff", "#e4e4e4", "#666666"
"""Colours of text, background, grid and side notes; a page shows others in dark mode (`themed`)."""
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)  # Okabe-Ito without yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
WIDTH_IN = 4.8
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
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "evenclip",  # equal results give equal bytes
}


@dataclass(frozen=True)
class Picture:
    """Finished figure with a unique ``name`` and a description in words, ``alt``."""

    name: str
    alt: str
    svg: bytes


@contextmanager
def panel(height_in: float) -> Iterator[tuple[Figure, Axes]]:
    """Context with a one-panel figure in the common style, `WIDTH_IN` inches wide; call `finish` inside it."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in))
        yield figure, figure.add_subplot()


def finish(figure: Figure, name: str, alt: str) -> Picture:
    """Render a figure as SVG, without date."""
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(name, alt, svg.getvalue())


def themed(svg: bytes) -> bytes:
    """A figure whose ink, paper and grid follow the reader's light or dark mode."""
    start = svg.find(b"<svg")
    end = svg.find(b">", start) + 1 if start >= 0 else 0
    head, body = svg[:end], svg[end:]
    for name, color in _LIGHT.items():
        body = body.replace(color.encode(), f"var(--{name})".encode())
    return head + (_THEME.encode() if end else b"") + body


_LIGHT = {"ink": INK, "paper": PAPER, "line": LINE, "soft": GREY} | {
    f"c{i}": color for i, color in enumerate(COLORS[:6])
}
_DARK = {"ink": "#e8e8e8", "paper": "#16181c", "line": "#3a3d44", "soft": "#a8adb5", "c0": "#4aa3e0", "c1": "#ff8a3d",
         "c2": "#2fc99a", "c3": "#e39bc6", "c4": "#f3b93a", "c5": "#8accf5"}  # fmt: skip


def _variables(colors: dict[str, str]) -> str:
    return ":root{" + ";".join(f"--{name}:{color}" for name, color in colors.items()) + "}"


_THEME = f"<style>{_variables(_LIGHT)}@media (prefers-color-scheme:dark){{{_variables(_DARK)}}}</style>"


def run_style(i: int) -> dict[str, Any]:
    """Colour and marker of the study's ``i``-th run; unique among the first 49 runs."""
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[(i + i // len(COLORS)) % len(MARKERS)]}


def line_style(i: int) -> dict[str, Any]:
    """Colour and line style of the study's ``i``-th run."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i // len(COLORS) % len(LINES)]}


def arms(estimate: Estimate) -> np.ndarray | None:
    """Lengths of the two arms of an error bar, shape (2, 1); None without an interval."""
    lengths = np.array([[estimate.mean - estimate.ci_low], [estimate.ci_high - estimate.mean]])
    return np.maximum(lengths, 0) if np.isfinite(lengths).all() else None


def draw_run(axes: Axes, study: StudyResults, i: int, metric: str, y: float) -> None:
    """Draw mean and interval of the ``i``-th run at height ``y``, if it has the metric."""
    estimate = study.estimate(study.runs[i].name, metric)
    if estimate:
        draw_estimate(axes, i, estimate, y)


def draw_estimate(axes: Axes, i: int, estimate: Estimate, y: float) -> None:
    """Draw a value and its interval in the style of the ``i``-th run, at height ``y``."""
    axes.errorbar(estimate.mean, y, xerr=arms(estimate), **run_style(i), markersize=7, elinewidth=1.5)


def draw_seeds(axes: Axes, study: StudyResults, i: int, metric: str, y: float) -> None:
    """Draw the seeds of the ``i``-th run as small points below ``y``, each with its interval over examples."""
    for k, seed in enumerate(seed_estimates(study, study.runs[i], metric)):
        style = run_style(i) | {"markersize": 3.5, "elinewidth": 0.8, "alpha": 0.5}
        axes.errorbar(seed.mean, y + 0.1 * (k % 3), xerr=arms(seed), **style)


def draw_chance(axes: Axes, study: StudyResults, metric: str) -> None:
    """Draw a dotted line at the chance level, if the metric has one."""
    chance = study.chance(metric)
    if chance is not None:
        axes.axvline(chance, color=INK, linewidth=1.1, linestyle=":")
        position = {"xycoords": ("data", "axes fraction"), "xytext": (3, -1), "textcoords": "offset points"}
        axes.annotate("chance", (chance, 1), **position, va="top", fontsize=8.5, color=GREY)


def draw_better(axes: Axes) -> None:
    """Draw an arrow into the lower right corner, where bias is low and quality high."""
    arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.2, "shrinkA": 1, "shrinkB": 0}
    look = {"xycoords": "axes fraction", "ha": "right", "va": "center", "fontsize": 8.5, "color": GREY}
    axes.annotate("better", (0.985, 0.025), (0.9, 0.11), arrowprops=arrow, zorder=1, **look)


def wrapped(text: str, letters: int) -> str:
    """Text in lines of at most about ``letters`` letters, for titles and labels that a panel would cut."""
    return textwrap.fill(text, letters, break_long_words=False, break_on_hyphens=False)


def seed_estimates(study: StudyResults, run: RunResult, metric: str) -> list[Estimate]:
    """Values of a metric for the seeds of a run that have it."""
    estimates = (study.seed_estimate(run.name, seed, metric) for seed in run.seeds)
    return [estimate for estimate in estimates if estimate]


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label rows 0, 1, ... from the top with names instead of ticks."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def name_runs(
    figure: Figure, study: StudyResults, markers: bool = True, lines: bool = False, only: Sequence[int] | None = None
) -> None:
    """Add a legend of the runs (or of ``only`` some) below the panel, by marker, line or both."""
    indices = range(len(study.runs)) if only is None else only
    handles = []
    for i in indices:
        look = run_style(i) | (line_style(i) if lines else {"linestyle": ""}) | ({} if markers else {"marker": ""})
        handles.append(Line2D([], [], **look, markersize=7, label=study.run_title(study.runs[i].name)))
    longest = max(len(study.run_title(study.runs[i].name)) for i in indices)
    n_columns = min(3, len(handles), max(LEGEND_LETTERS // (longest + 8), 1))
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_IN * (-(-len(handles) // n_columns) - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns)


def frame(
    study: StudyResults, *metrics: str, zero: bool = False, chance: bool = True, intervals: bool = True
) -> tuple[float, float]:
    """Axis limits that include all seeds, if asked with their ``intervals`` and ``chance`` level; from 0 if ``zero``.

    Intervals over a few seeds can be very wide; they may extend beyond the frame.
    """
    seeds = [seed for m in metrics for run in study.runs for seed in seed_estimates(study, run, m)]
    values = np.array(
        [
            [seed.mean, *([seed.ci_low, seed.ci_high] if intervals else []), *([seed.random] if chance else [])]
            for seed in seeds
        ]
    )
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0, 1)
    margin = max(0.06 * (high - low), 0.01)
    return (0 if zero else max(low - margin, -0.01)), min(high + margin, 1.01)  # all of these metrics are shares
