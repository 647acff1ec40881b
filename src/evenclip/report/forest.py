"""Forest plots of paired differences from the first run, and love plots of what balancing does to the data."""

import math
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from evenclip.bias import UNDEFINED
from evenclip.report import words
from evenclip.report.drawing import COLORS, GREY, Picture, draw_estimate, finish, name_rows, panel
from evenclip.results import Estimate, StudyResults

N_ASSOCIATIONS = 24


def forest_plot(study: StudyResults, metric: str, title: str) -> Picture | None:
    """Difference of each run from the first, with its interval; None where the study has no other run with it.

    The grey bar of a run is what its seeds could not have shown: differences smaller than `detectable` of tests.csv.
    """
    first = study.runs[0].name
    tests = study.tests[(study.tests["metric"] == metric) & (study.tests["run_a"] == first)]
    if tests.empty:
        return None
    position = {run.name: i for i, run in enumerate(study.runs)}
    rows = list(tests.itertuples())
    with panel(1.3 + 0.32 * len(rows)) as (figure, axes):
        told = []
        axes.axvline(0, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for y, row in enumerate(rows):
            if np.isfinite(row.detectable):
                axes.barh(y, 2 * row.detectable, left=-row.detectable, height=0.7, color="#eeeeee", zorder=0)
            difference = Estimate(row.effect, row.ci_low, row.ci_high)
            draw_estimate(axes, position[row.run_b], difference, y)
            told.append(f"{row.run_b} {words.interval(difference)}")
        name_rows(axes, [row.run_b for row in rows])
        axes.set(xlabel=f"{metric}: difference from {first}", title=title)
        return finish(figure, f"forest-{metric}", f"{title}, difference of {metric} from {first}: {'; '.join(told)}.")


def love_plot(audit: dict[str, Any], strategy: str) -> Picture | None:
    """Standardised mean difference of each label between perceived groups, as the data came and as it is shown.

    The strongest `N_ASSOCIATIONS`; None where no group and label has enough pairs.

    Parameters
    ----------
    audit : dict
        `evenclip.balance.audit` of the strategy's weights.
    """
    found = [entry for entry in audit["associations"] if entry["status"] == "ok" and entry["before"]["smd"] is not None]
    found = sorted(found, key=lambda entry: -abs(entry["before"]["smd"]))[:N_ASSOCIATIONS]
    if not found:
        return None
    groups = {entry["group"] for entry in found}
    names = [entry["label"] if len(groups) == 1 else f"{entry['label']} ({entry['group']})" for entry in found]
    looks = {
        "before": {"marker": "o", "color": GREY, "markerfacecolor": "white", "label": "as it came"},
        "realised": {"marker": "s", "color": COLORS[0], "label": "as shown in training"},
    }
    with panel(1.3 + 0.24 * len(found)) as (figure, axes):
        for stage, look in looks.items():
            values = [_size(entry[stage]["smd"]) for entry in found]
            axes.plot(values, range(len(found)), linestyle="", markersize=6, **look)
        axes.axvline(0.1, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
        name_rows(axes, names)
        axes.set(xlabel="|standardised mean difference| between groups", title=f"Association with labels, {strategy}")
        axes.set_xlim(left=-0.02)
        handles = [Line2D([], [], linestyle="", markersize=6, **look) for look in looks.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        told = "; ".join(
            f"{name} {abs(entry['before']['smd']):.2f} to {_in_words(entry['realised']['smd'])}"
            for name, entry in zip(names, found, strict=True)
        )
        return finish(figure, f"love-{strategy}", f"Standardised differences before and after {strategy}: {told}.")


def _size(difference: float | None) -> float:
    return math.nan if difference is None else abs(difference)


def _in_words(difference: float | None) -> str:
    return UNDEFINED if difference is None else f"{abs(difference):.2f}"
