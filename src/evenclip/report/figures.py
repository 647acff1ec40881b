"""The study's figures, one panel each, so that they stack on a phone and stay readable.

Colours are Okabe and Ito's, safe for colour-blind readers, and every run has a marker shape of its own as well.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evenclip.results import StudyResults

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe-Ito without yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
WIDTH_IN, PNG_DPI = 4.8, 200
CURVE_BINS = 150
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
    """A finished figure: ``name`` is its file's stem, ``alt`` says in words what it shows."""

    name: str
    alt: str
    svg: bytes
    png: bytes


def bias_against_quality(study: StudyResults, bias: str, quality: str) -> Picture:
    """Scatter of a bias metric (y) against a quality metric (x): seeds small, mean with its interval large."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.9))
        axes = figure.add_subplot()
        for i, run in enumerate(study.runs):
            x, y = summary_row(study, run.name, quality), summary_row(study, run.name, bias)
            if x is None or y is None:
                continue
            color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
            points = np.array(
                [(seed_value(study, run.name, s, quality), seed_value(study, run.name, s, bias)) for s in run.seeds]
            )
            axes.plot(*points.T, marker, color=color, markersize=4, alpha=0.45)
            axes.errorbar(
                x["mean"], y["mean"], xerr=_reach(x), yerr=_reach(y), fmt=marker, color=color, markersize=9,
                markeredgecolor="white", elinewidth=1.4, label=run.name,
            )  # fmt: skip
        axes.set(xlabel=f"{quality}  (more is better)", ylabel=f"{bias}  (0 is even)")
        axes.set_ylim(bottom=0)
        axes.set_title("Bias against quality: lower right is best")
        figure.legend(loc="outside lower center", ncols=min(3, len(study.runs)))
        alt = f"Scatter: {describe(study, bias)}; {describe(study, quality)}."
        return _finish(figure, f"bias_quality-{_stem(bias)}-{_stem(quality)}", alt)


def dot_plot(study: StudyResults, metric: str, title: str) -> Picture:
    """Mean and interval of one metric per run, seeds as small points, the first run and chance as reference lines."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 1.15 + 0.4 * len(study.runs)))
        axes = figure.add_subplot()
        rows = [summary_row(study, run.name, metric) for run in study.runs]
        for i, (run, row) in enumerate(zip(study.runs, rows, strict=True)):
            if row is None:
                continue
            color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
            values = [seed_value(study, run.name, seed, metric) for seed in run.seeds]
            axes.plot(values, np.full(len(values), i + 0.22), marker, color=color, markersize=4, alpha=0.45)
            axes.errorbar(row["mean"], i, xerr=_reach(row), fmt=marker, color=color, markersize=8, elinewidth=1.6)
        if rows[0] is not None:
            axes.axvline(rows[0]["mean"], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        chance = [row["random"] for row in rows if row is not None and np.isfinite(row["random"])]
        if chance:
            axes.axvline(chance[0], color="#000000", linewidth=1, linestyle=":")
            axes.annotate("chance", (chance[0], 1), xycoords=("data", "axes fraction"), xytext=(2, -1), textcoords="offset points", va="top", fontsize=8, color=GREY)  # fmt: skip  # noqa: E501
        _name_rows(axes, [run.name for run in study.runs])
        axes.set(xlabel=metric, title=title)
        return _finish(figure, f"metric-{_stem(metric)}", f"{title}: {describe(study, metric)}.")


def data_bias(study: StudyResults, measure: str, title: str) -> Picture:
    """RB or AB of the training data per strategy, before balancing (hollow) and as realised after it (filled).

    Parameters
    ----------
    measure : {"rb", "ab"}
        Which of the certificate's fields ``<measure>_before`` and ``realised_<measure>``.
    """
    names = list(study.strategies)
    before = np.array([study.strategies[name][f"{measure}_before"] for name in names], dtype=float)
    after = np.array([study.strategies[name][f"realised_{measure}"] for name in names], dtype=float)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 1.45 + 0.4 * len(names)))
        axes = figure.add_subplot()
        rows = np.arange(len(names))
        axes.hlines(rows, before, after, color="#bbbbbb", linewidth=2.5, zorder=1)
        axes.scatter(before, rows, s=60, facecolor="white", edgecolor=GREY, linewidth=1.6, zorder=2, label="before")
        axes.scatter(after, rows, s=45, color=COLORS[0], zorder=3, label="after")
        _name_rows(axes, names)
        axes.set(xlabel=f"{'RB' if measure == 'rb' else 'AB'} of the training data", title=title)
        axes.set_xlim(left=min(0, *axes.get_xlim()))
        figure.legend(loc="outside lower center", ncols=2)
        values = (f"{name} {b:.3f} before, {a:.3f} after" for name, b, a in zip(names, before, after, strict=True))
        return _finish(figure, f"data-{measure}", f"{title}: {'; '.join(values)}.")


def training_curves(study: StudyResults) -> Picture:
    """Training loss against image-text pairs seen, one line per run and seed; long curves are averaged in bins."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.6))
        axes = figure.add_subplot()
        ends = []
        for i, run in enumerate(study.runs):
            for k, seed in enumerate(run.seeds):
                seen, loss = _binned(study.history(run.name, seed))
                label = run.name if k == 0 else None
                axes.plot(seen, loss, color=COLORS[i % len(COLORS)], linewidth=1.2, alpha=0.8, label=label)
                ends.append(f"{run.name} seed {seed} ends at {loss[-1]:.2f}")
        axes.set(xlabel="image-text pairs seen", ylabel="training loss", title="Training curves, one line per seed")
        axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
        figure.legend(loc="outside lower center", ncols=min(3, len(study.runs)))
        return _finish(figure, "training", f"Training loss against pairs seen: {'; '.join(ends)}.")


def summary_row(study: StudyResults, run: str, metric: str) -> pd.Series | None:
    """The row of summary.csv for all examples; None where the metric was not measured or is not defined."""
    table = study.summary
    found = table[(table["run"] == run) & (table["metric"] == metric) & (table["group"] == "")]
    return None if found.empty or not np.isfinite(found["mean"].iloc[0]) else found.iloc[0]


def seed_value(study: StudyResults, run: str, seed: int, metric: str) -> float:
    """A metric of one seed, NaN where it was not measured."""
    rows = (row for row in study.metrics(run, seed) if row["metric"] == metric and not row["group"])
    value = next((row["value"] for row in rows), None)
    return float("nan") if value is None else value


def describe(study: StudyResults, metric: str) -> str:
    """A metric of all runs in words: ``bias/people/rb: none 0.280 [0.250, 0.310], m4 ...``."""
    rows = ((run.name, summary_row(study, run.name, metric)) for run in study.runs)
    return f"{metric}: " + ", ".join(f"{name} {format_interval(row)}" for name, row in rows if row is not None)


def format_interval(row: pd.Series) -> str:
    """``0.280 [0.250, 0.310]``, without brackets where there is no interval."""
    ends = f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" if np.isfinite(row["ci_low"]) else ""
    return f"{row['mean']:.3f}{ends}"


def _reach(row: pd.Series) -> np.ndarray | None:
    """Lengths of the two arms of an error bar, shape (2, 1)."""
    arms = np.array([[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]])
    return np.maximum(arms, 0) if np.isfinite(arms).all() else None


def _binned(history: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    bins = np.arange(len(history)) * CURVE_BINS // max(len(history), CURVE_BINS)
    means = history[["samples_seen", "loss"]].groupby(bins).mean()
    return means["samples_seen"].to_numpy(), means["loss"].to_numpy()


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _stem(metric: str) -> str:
    return metric.replace("/", "_")


def _finish(figure: Figure, name: str, alt: str) -> Picture:
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Picture(name, alt, svg.getvalue(), png.getvalue())
