"""Love plot: how far each label is from balance between perceived groups, before and after balancing.

Its axis is the absolute standardised mean difference; named after Thomas E. Love.
"""

import math
from collections.abc import Sequence
from typing import Any

SMALL = 0.1
"""A standardised mean difference below this is customarily called balanced."""


def strongest_pairs(audit: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """The ``n`` pairs of group and label that differ most before balancing, strongest first.

    Parameters
    ----------
    audit : dict
        An `evenclip.balance.audit`; pairs without enough rows for a standardised mean difference are left out.
    n : int
    """
    pairs = [pair for pair in audit["associations"] if pair["status"] == "ok" and pair["before"]["smd"] is not None]
    return sorted(pairs, key=lambda pair: -abs(pair["before"]["smd"]))[:n]


def names_of(pairs: Sequence[dict[str, Any]]) -> list[str]:
    """Each pair's label, with its group if there are several."""
    groups = {pair["group"] for pair in pairs}
    return [pair["label"] if len(groups) == 1 else f"{pair['label']} ({pair['group']})" for pair in pairs]


def draw_love_plot(axes: Any, pairs: Sequence[dict[str, Any]], looks: dict[str, dict[str, Any]]) -> None:
    """Draw a row for each pair from the top, with a marker for each stage where its difference is defined.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    pairs : sequence of dict
        See `strongest_pairs`.
    looks : dict of str to dict
        Marker, colour and label of each stage to draw: ``"before"``, ``"after"``, ``"realised"``.
    """
    for stage, look in looks.items():
        differences = [pair[stage]["smd"] for pair in pairs]
        sizes = [math.nan if difference is None else abs(difference) for difference in differences]
        axes.plot(sizes, range(len(pairs)), linestyle="", **look)
    axes.axvline(SMALL, color="0.4", linewidth=0.9, linestyle=":", zorder=0)
    axes.set_yticks(range(len(pairs)), names_of(pairs))
    axes.set_ylim(len(pairs) - 0.5, -0.6)
    axes.set_xlim(left=-0.02)
    axes.set_xlabel("|standardised mean difference| between groups")
