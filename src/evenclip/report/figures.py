"""Figures of a study.

Bias against quality, single metrics and families of metrics, data bias, training curves, differences from the first run
(forest plots), and the effect of balancing on associations (love plots).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from evenclip.balance.love_plot import draw_love_plot, names_of, strongest_pairs
from evenclip.bias import UNDEFINED
from evenclip.report import words
from evenclip.report.drawing import (
    COLORS,
    GREY,
    Picture,
    arms,
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
)
from evenclip.results import Estimate, StudyResults

CURVE_BINS = 150
N_ASSOCIATIONS = 24


def bias_against_quality(study: StudyResults, bias: str, quality: str) -> Picture:
    """Scatter plot of a bias metric (y) against a quality metric (x): small points are seeds, large ones means."""
    with panel(3.9) as (figure, axes):
        for i, run in enumerate(study.runs):
            x, y = study.estimate(run.name, quality), study.estimate(run.name, bias)
            if not (x and y):
                continue
            seeds = ([seed.mean for seed in seed_estimates(study, run, metric)] for metric in (quality, bias))
            look = run_style(i) | {"linestyle": ""}
            axes.plot(*seeds, **look, markersize=4, alpha=0.5)
            axes.errorbar(x.mean, y.mean, xerr=arms(x), yerr=arms(y), **look, markersize=0, elinewidth=1.2, alpha=0.6)
            axes.plot(x.mean, y.mean, **look, markersize=9, markeredgecolor="white")
        axes.set(xlabel=quality, ylabel=bias, title="Lower right is best")
        axes.set(xlim=frame(study, quality, chance=False), ylim=frame(study, bias, zero=True))
        name_runs(figure, study)
        alt = f"Scatter: {words.all_runs(study, bias)}; {words.all_runs(study, quality)}."
        return finish(figure, f"bias_quality-{bias}-{quality}", alt)


def metric_plot(study: StudyResults, metric: str, title: str) -> Picture:
    """Mean and interval of a metric for each run, with its seeds; lines at the first run's mean and at chance."""
    with panel(1.15 + 0.5 * len(study.runs)) as (figure, axes):
        for i in range(len(study.runs)):
            draw_run(axes, study, i, metric, y=i)
            draw_seeds(axes, study, i, metric, y=i + 0.22)
        first = study.estimate(study.runs[0].name, metric)
        if first:
            axes.axvline(first.mean, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        draw_chance(axes, study, metric)
        name_rows(axes, [run.name for run in study.runs])
        axes.set(xlabel=metric, title=title, xlim=frame(study, metric))
        return finish(figure, f"metric-{metric}", f"{title}: {words.all_runs(study, metric)}.")


def family_plot(study: StudyResults, metrics: Sequence[str], title: str) -> Picture:
    """Metrics of one family ``<family>/<set>/<measure>``, one row each, with all runs."""
    n_runs, family = len(study.runs), metrics[0].rpartition("/")[0]
    with panel(1.4 + (0.2 + 0.17 * n_runs) * len(metrics)) as (figure, axes):
        for row, metric in enumerate(metrics):
            for i in range(n_runs):
                draw_run(axes, study, i, metric, y=row + (i - (n_runs - 1) / 2) * 0.75 / n_runs)
        draw_chance(axes, study, metrics[0])
        name_rows(axes, [metric.rpartition("/")[2] for metric in metrics])
        axes.set(xlabel=family, title=title, xlim=frame(study, *metrics))
        name_runs(figure, study)
        texts = "; ".join(words.all_runs(study, metric) for metric in metrics)
        return finish(figure, f"family-{family}", f"{title}: {texts}.")


def data_bias(audits: dict[str, dict[str, Any]], measure: str, title: str) -> Picture:
    """Representation or association bias of the training data by strategy: original (hollow) and as shown (filled).

    Parameters
    ----------
    audits : dict
        `evenclip.balance.audit` of each strategy's weights, by strategy.
    measure : {"rb", "ab"}
    """
    looks = {"original": {"color": GREY, "markerfacecolor": "white"}, "as shown in training": {"color": COLORS[0]}}
    with panel(1.45 + 0.4 * len(audits)) as (figure, axes):
        texts = []
        for row, (name, audit) in enumerate(audits.items()):
            stages = [Estimate.from_row(audit[measure][stage]) for stage in ("before", "realised")]
            axes.plot([stage.mean for stage in stages], [row, row], color="#cccccc", linewidth=2.5, zorder=1)
            for stage, look, y in zip(stages, looks.values(), (row - 0.1, row + 0.1), strict=True):
                axes.errorbar(stage.mean, y, xerr=arms(stage), marker="o", markersize=7.5, elinewidth=1.4, **look)
            texts.append(f"{name} {words.interval(stages[0])} original, {words.interval(stages[1])} as shown")
        name_rows(axes, list(audits))
        axes.set(xlabel=f"{measure.upper()} of the training data", title=title)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        handles = [Line2D([], [], linestyle="", marker="o", label=name, **look) for name, look in looks.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return finish(figure, f"data-{measure}", f"{title}: {'; '.join(texts)}.")


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
            ends.append(f"{run.name} ends at {loss['mean'].iloc[-1]:.2f}")
        axes.set(xlabel="image-text pairs seen", ylabel="training loss", title="Training curves")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        name_runs(figure, study, markers=False, lines=True)
        return finish(figure, "training", f"Training loss against pairs seen: {'; '.join(ends)}.")


def _binned(history: pd.DataFrame) -> pd.DataFrame:
    """Loss by pairs seen; long curves are averaged in bins."""
    bins = np.arange(len(history)) * CURVE_BINS // max(len(history), CURVE_BINS)
    return history[["samples_seen", "loss"]].groupby(bins).mean()


def forest_plot(study: StudyResults, metric: str, title: str) -> Picture | None:
    """Forest plot: difference of each run from the first, with its interval; None if no other run has the metric.

    Grey bars mark differences too small to detect (`detectable` in tests.csv).
    """
    first = study.runs[0].name
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
                axes.barh(y, 2 * row.detectable, left=-row.detectable, height=0.7, color="#eeeeee", zorder=0)
            difference = Estimate(row.effect, row.ci_low, row.ci_high)
            draw_estimate(axes, position[row.run_b], difference, y)
            texts.append(f"{row.run_b} {words.interval(difference)}")
        name_rows(axes, [row.run_b for row in rows])
        axes.set(xlabel=f"{metric}: difference from {first}", title=title)
        return finish(figure, f"forest-{metric}", f"{title}, difference of {metric} from {first}: {'; '.join(texts)}.")


def love_plot(audit: dict[str, Any], strategy: str) -> Picture | None:
    """Love plot: standardised mean difference of each label between perceived groups, before and after balancing.

    Shows the `N_ASSOCIATIONS` strongest; None if no group and label have enough pairs.

    Parameters
    ----------
    audit : dict
        `evenclip.balance.audit` of the strategy's weights.
    """
    pairs = strongest_pairs(audit, N_ASSOCIATIONS)
    if not pairs:
        return None
    looks = {
        "before": {"marker": "o", "color": GREY, "markerfacecolor": "white", "label": "original"},
        "realised": {"marker": "s", "color": COLORS[0], "label": "as shown in training"},
    }
    with panel(1.3 + 0.24 * len(pairs)) as (figure, axes):
        draw_love_plot(axes, pairs, {stage: look | {"markersize": 6} for stage, look in looks.items()})
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set(title=f"Association with labels, {strategy}")
        figure.legend(loc="outside lower center", ncols=2)
        texts = "; ".join(
            f"{name} {abs(pair['before']['smd']):.2f} to {_in_words(pair['realised']['smd'])}"
            for name, pair in zip(names_of(pairs), pairs, strict=True)
        )
        return finish(figure, f"love-{strategy}", f"Standardised differences before and after {strategy}: {texts}.")


def _in_words(difference: float | None) -> str:
    return UNDEFINED if difference is None else f"{abs(difference):.2f}"
