"""Figures of a study.

Bias against quality, single metrics and families of metrics, data bias, training curves, and differences from the first
run (forest plots). Those of single labels are in `evenclip.report.labels`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from evenclip.report import words
from evenclip.report.drawing import (
    COLORS,
    GREY,
    INK,
    LINE,
    PAPER,
    Picture,
    arms,
    draw_better,
    draw_chance,
    draw_estimate,
    draw_run,
    draw_seeds,
    finish,
    frame,
    line_style,
    name_rows,
    name_runs,
    panel,
    run_style,
    seed_estimates,
    wrapped,
)
from evenclip.results import Estimate, StudyResults

CURVE_BINS = 150


def bias_against_quality(study: StudyResults, bias: str, quality: str) -> Picture:
    """Scatter plot of a bias metric (y) against a quality metric (x): small points are seeds, large ones means."""
    names = {metric: words.metric(study, metric) for metric in (bias, quality)}
    with panel(3.9) as (figure, axes):
        for i, run in enumerate(study.runs):
            x, y = study.estimate(run.name, quality), study.estimate(run.name, bias)
            if not (x and y):
                continue
            seeds = ([seed.mean for seed in seed_estimates(study, run, metric)] for metric in (quality, bias))
            look = run_style(i) | {"linestyle": ""}
            axes.plot(*seeds, **look, markersize=4, alpha=0.4, markeredgewidth=0, zorder=1)
            axes.errorbar(x.mean, y.mean, xerr=arms(x), yerr=arms(y), **look, markersize=0, elinewidth=1, alpha=0.6)
            axes.plot(x.mean, y.mean, **look, markersize=10, markeredgecolor=INK, markeredgewidth=0.8, zorder=3)
        axes.set(xlabel=wrapped(names[quality], 48), ylabel=wrapped(names[bias], 34))
        axes.set(xlim=frame(study, quality, chance=False, intervals=False))
        axes.set(ylim=frame(study, bias, zero=True, chance=False, intervals=False))
        draw_better(axes)
        name_runs(figure, study)
        title = f"{_capital(words.measure(study, bias))} against {words.measure(study, quality)}"
        axes.set_title(wrapped(title, 44))
        alt = f"{title}: {words.all_runs(study, bias)}; {words.all_runs(study, quality)}."
        return finish(figure, f"{names[bias]} against {names[quality]}", alt)


def metric_plot(study: StudyResults, metric: str) -> Picture:
    """Mean and interval of a metric for each run, with its seeds; lines at the first run's mean and at chance."""
    name = words.metric(study, metric)
    with panel(1.15 + 0.5 * len(study.runs)) as (figure, axes):
        for i in range(len(study.runs)):
            draw_run(axes, study, i, metric, y=i)
            draw_seeds(axes, study, i, metric, y=i + 0.22)
        first = study.estimate(study.runs[0].name, metric)
        if first:
            axes.axvline(first.mean, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        draw_chance(axes, study, metric)
        name_rows(axes, [study.run_title(run.name) for run in study.runs])
        axes.set(xlim=frame(study, metric), title=wrapped(_capital(name), 44))
        return finish(figure, name, f"{_capital(words.all_runs(study, metric))}.")


def family_plot(study: StudyResults, metrics: Sequence[str], title: str) -> Picture:
    """Metrics of one family ``<family>/<set>/<measure>``, one row each, with all runs."""
    n_runs = len(study.runs)
    with panel(1.4 + (0.2 + 0.17 * n_runs) * len(metrics)) as (figure, axes):
        for row, metric in enumerate(metrics):
            for i in range(n_runs):
                draw_run(axes, study, i, metric, y=row + (i - (n_runs - 1) / 2) * 0.75 / n_runs)
        draw_chance(axes, study, metrics[0])
        name_rows(axes, [metric.rpartition("/")[2].replace("_", " ") for metric in metrics])
        axes.set(xlabel="share", title=wrapped(title, 44), xlim=frame(study, *metrics))
        name_runs(figure, study)
        texts = "; ".join(words.all_runs(study, metric) for metric in metrics)
        return finish(figure, title, f"{title}: {texts}.")


def data_bias(audits: dict[str, dict[str, Any]], measure: str, title: str) -> Picture:
    """Representation or association bias of the training data by strategy: original (hollow) and as shown (filled).

    Parameters
    ----------
    audits : dict
        `evenclip.balance.audit` of each strategy's weights, by strategy.
    measure : {"rb", "ab"}
    title : str
    """
    looks = {"original": {"color": GREY, "markerfacecolor": PAPER}, "as shown in training": {"color": COLORS[0]}}
    with panel(1.45 + 0.4 * len(audits)) as (figure, axes):
        texts = []
        for row, (name, audit) in enumerate(audits.items()):
            stages = [Estimate.from_row(audit[measure][stage]) for stage in ("before", "realised")]
            axes.plot([stage.mean for stage in stages], [row, row], color=LINE, linewidth=2.5, zorder=1)
            for stage, look, y in zip(stages, looks.values(), (row - 0.1, row + 0.1), strict=True):
                axes.errorbar(stage.mean, y, xerr=arms(stage), marker="o", markersize=7.5, elinewidth=1.4, **look)
            texts.append(
                f"{words.strategy(name)} {words.interval(stages[0])} original, {words.interval(stages[1])} as shown"
            )
        name_rows(axes, [words.strategy(name) for name in audits])
        axes.set(xlabel="0 = even", title=title)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        handles = [Line2D([], [], linestyle="", marker="o", label=name, **look) for name, look in looks.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return finish(figure, title.lower(), f"{title}: {'; '.join(texts)}.")


def training_curves(study: StudyResults) -> Picture:
    """Training loss against image-text pairs seen: mean over seeds of each run, with the range of its seeds."""
    with panel(3.6) as (figure, axes):
        ends = []
        for i, run in enumerate(study.runs):
            binned = pd.concat([_binned(study.history(run.name, seed)) for seed in run.seeds])
            loss = binned.groupby("samples_seen")["loss"].agg(["mean", "min", "max"])
            look = line_style(i)
            axes.plot(loss.index, loss["mean"], **look, linewidth=1.2, alpha=0.8)
            axes.fill_between(loss.index, loss["min"], loss["max"], color=look["color"], alpha=0.12, linewidth=0)
            ends.append(f"{study.run_title(run.name)} ends at {loss['mean'].iloc[-1]:.2f}")
        axes.set(xlabel="image-text pairs seen", ylabel="training loss", title="Training curves")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        name_runs(figure, study, markers=False, lines=True)
        return finish(figure, "training curves", f"Training loss against pairs seen: {'; '.join(ends)}.")


def _binned(history: pd.DataFrame) -> pd.DataFrame:
    """Loss by pairs seen; long curves are averaged in bins."""
    bins = np.arange(len(history)) * CURVE_BINS // max(len(history), CURVE_BINS)
    return history[["samples_seen", "loss"]].groupby(bins).mean()


def forest_plot(study: StudyResults, metric: str) -> Picture | None:
    """Forest plot: difference of each run from the first, with its interval; None if no other run has the metric.

    Grey bars mark differences too small to detect (`detectable` in tests.csv).
    """
    first, name = study.runs[0].name, words.metric(study, metric)
    tests = study.tests[(study.tests["metric"] == metric) & (study.tests["run_a"] == first)]
    if tests.empty:
        return None
    position = {run.name: i for i, run in enumerate(study.runs)}
    rows = list(tests.itertuples())
    with panel(1.3 + 0.32 * len(rows)) as (figure, axes):
        texts = []
        axes.axvline(0, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for y, row in enumerate(rows):
            if np.isfinite(row.detectable):
                axes.barh(y, 2 * row.detectable, left=-row.detectable, height=0.7, color=LINE, alpha=0.7, zorder=0)
            difference = Estimate(row.effect, row.ci_low, row.ci_high)
            draw_estimate(axes, position[row.run_b], difference, y)
            texts.append(f"{row.run_b} {words.interval(difference)}")
        name_rows(axes, [row.run_b for row in rows])
        axes.set(xlabel=f"difference from {study.run_title(first)}", title=wrapped(_capital(name), 44))
        alt = f"{_capital(name)}, difference from {study.run_title(first)}: {'; '.join(texts)}."
        return finish(figure, f"difference in {name}", alt)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
