"""An audit for people: a table in plain text; a love plot, a heat map of pairs, and one HTML page with both."""

import base64
import html
import os
from pathlib import Path
from typing import Any

import numpy as np

from evenclip.bias import UNDEFINED
from evenclip.provenance import atomic_folder


def as_text(audit: dict[str, Any]) -> str:
    """The audit as a table: maxima, groups, and the ten strongest associations."""
    stages = [name for name in ("before", "after", "realised") if name in audit["rb"]]
    lines = [
        f"{audit['n']} rows, {audit['n_cells']} cells; ESS {audit['ess']:.1f}, design effect "
        f"{audit['design_effect']:.3f}, retained {audit['retained_share']:.1%}",
        _row("", stages),
        _row("RB (largest deviation of a share)", [_estimate(audit["rb"][stage]) for stage in stages]),
        _row("AB (largest association)", [_estimate(audit["ab"][stage]) for stage in stages]),
    ]
    for group in audit["groups"]:
        name = f"share of {group['group']} (target {group['target']:.3g}){_mark(group)}"
        lines.append(_row(name, [_estimate(group[stage]) for stage in stages]))
    strongest = sorted(audit["associations"], key=lambda row: -abs(row["before"]["value"] or 0))[:10]
    for row in strongest:
        lines.append(_row(f"{row['group']} -> {row['label']}{_mark(row)}", [_estimate(row[stage]) for stage in stages]))
    return "\n".join(lines)


def _mark(row: dict[str, Any]) -> str:
    return "" if row["status"] == "ok" else f" [{row['status']}]"


def _row(name: str, values: list[str]) -> str:
    return f"{name:<48}" + "".join(f"{value:>28}" for value in values)


def _estimate(value: dict[str, float | None]) -> str:
    if value["value"] is None:
        return UNDEFINED
    if value["ci_low"] is None:
        return f"{value['value']:.4f}"
    return f"{value['value']:.4f} [{value['ci_low']:.4f}, {value['ci_high']:.4f}]"


_MOST_PAIRS = 40  # rows of a love plot that can still be read
_SMALL = 0.1  # a standardised mean difference below this is customarily called balanced
_NAMES = {"before": "as the data came", "after": "under the weights", "realised": "as shown"}


def write_figures(audit: dict[str, Any], out: str | os.PathLike) -> None:
    """Write `love_plot.png`, `pairs.png` and `audit.html` into the folder ``out``, replaced as a whole."""
    from matplotlib.figure import Figure

    with atomic_folder(out) as folder:
        for name, draw in (("love_plot", _love_plot), ("pairs", _heat_map)):
            figure = Figure(layout="constrained")
            draw(figure, audit)
            figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
        (folder / "audit.html").write_text(_page(audit, folder), encoding="utf-8")


def _stages(audit: dict[str, Any]) -> list[str]:
    return [name for name in _NAMES if name in audit["rb"]]


def _love_plot(figure: Any, audit: dict[str, Any]) -> None:
    pairs = [row for row in audit["associations"] if row["status"] == "ok" and row["before"]["smd"] is not None]
    pairs = sorted(pairs, key=lambda row: abs(row["before"]["smd"]))[-_MOST_PAIRS:]
    figure.set_size_inches(7, 1.5 + 0.22 * len(pairs))
    axes = figure.subplots()
    for stage, marker in zip(_stages(audit), "ox+", strict=False):
        values = [abs(row[stage]["smd"] or 0) for row in pairs]
        axes.plot(values, range(len(pairs)), marker, label=_NAMES[stage], markersize=5)
    axes.axvline(_SMALL, color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(pairs)), [f"{row['group']} – {row['label']}" for row in pairs], fontsize=7)
    axes.set_xlabel("absolute standardised mean difference")
    axes.set_xlim(left=0)
    axes.margins(y=0.5 / len(pairs) if pairs else 0.0)
    figure.legend(loc="outside upper center", ncols=len(_NAMES), fontsize=8)


def _heat_map(figure: Any, audit: dict[str, Any]) -> None:
    groups = list(dict.fromkeys(row["group"] for row in audit["associations"]))
    labels = list(dict.fromkeys(row["label"] for row in audit["associations"]))
    stages = _stages(audit)
    grids = {stage: np.full((len(labels), len(groups)), np.nan) for stage in stages}
    for row in audit["associations"]:
        if row["status"] == "ok":
            for stage in stages:
                value = row[stage]["value"]
                grids[stage][labels.index(row["label"]), groups.index(row["group"])] = (
                    np.nan if value is None else value
                )
    largest = max((np.nanmax(np.abs(g)) for g in grids.values() if np.isfinite(g).any()), default=1.0) or 1.0
    figure.set_size_inches(1.5 + len(stages) * (1.2 + 0.35 * len(groups)), 2.5 + 0.2 * len(labels))
    for axes, stage in zip(figure.subplots(1, len(stages), sharey=True, squeeze=False)[0], stages, strict=True):
        image = axes.imshow(grids[stage], cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
        axes.set_facecolor("0.85")  # insufficient data
        axes.set_title(_NAMES[stage], fontsize=8)
        axes.set_xticks(range(len(groups)), groups, rotation=90, fontsize=7)
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
    bar = figure.colorbar(image, ax=figure.axes)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("P(label | group) - P(label | others)", fontsize=7)


def _page(audit: dict[str, Any], folder: Path) -> str:
    images = "\n".join(
        f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{_encoded(folder / name)}">'
        for name, title in (("love_plot.png", "Love plot"), ("pairs.png", "Associations of pairs"))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Audit</title>'
        "<style>body{font-family:sans-serif;margin:2em}pre{overflow-x:auto}img{max-width:100%}</style>"
        f"<h1>Audit</h1><pre>{html.escape(as_text(audit))}</pre>\n{images}</html>\n"
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
