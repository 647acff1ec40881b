"""An audit as plain text, as figures (love plot, heat map of pairs, kept shares) and as one HTML page with them."""

import base64
import html
import os
from pathlib import Path
from typing import Any

import numpy as np

from evenclip.balance.kept import LOW_KEPT_SHARE, part_name
from evenclip.balance.love_plot import draw_love_plot, strongest_pairs
from evenclip.bias import UNDEFINED
from evenclip.provenance import atomic_folder


def as_text(audit: dict[str, Any]) -> str:
    """The audit as a table: maxima, groups, the ten strongest associations, the least kept parts, and warnings."""
    stages = [name for name in ("before", "after", "realised") if name in audit["rb"]]
    lines = [
        f"{audit['n']} rows, {audit['n_cells']} cells; ESS {audit['ess']:.1f}, design effect "
        f"{audit['design_effect']:.3f}, retained {audit['retained_share']:.1%}",
        _row("", stages),
        _row("RB (largest deviation of a share)", [_estimate(audit["rb"][stage]) for stage in stages]),
        _row("AB (largest association)", [_estimate(audit["ab"][stage]) for stage in stages]),
    ]
    lines += _corrected_lines(audit["corrected"], stages)
    for sides, row in audit["crossings"].items():
        group_side, label_side = sides.split("-")
        name = f"AB of groups by {group_side}, labels by {label_side}"
        lines.append(_row(name, [_estimate(row[stage]) for stage in stages]))
    for group in audit["groups"]:
        name = f"share of {group['group']} (target {group['target']:.3g}){_mark(group)}"
        lines.append(_row(name, [_estimate(group[stage]) for stage in stages]))
    strongest = sorted(audit["associations"], key=lambda row: -abs(row["before"]["value"] or 0))[:10]
    for row in strongest:
        lines.append(_row(f"{row['group']} -> {row['label']}{_mark(row)}", [_estimate(row[stage]) for stage in stages]))
    if len(stages) > 1:
        lines += ["", _row("share of the examples, least kept first", [*stages, "kept", "effective rows"])]
        for part in audit["kept"][:_MOST_KEPT]:
            shares = [f"{part[stage]:.4f}" for stage in stages]
            lines.append(_row(part_name(part), [*shares, f"{part['kept']:.2f}", f"{part['effective_rows']:.1f}"]))
    lines += [f"warning: {warning}" for warning in audit["warnings"]]
    return "\n".join(lines)


def _corrected_lines(corrected: dict[str, Any] | None, stages: list[str]) -> list[str]:
    """RB and AB corrected for label noise, and what the correction rests on; nothing without a calibration set."""
    if corrected is None:
        return []
    names = ", ".join(row["attribute"] for row in corrected["attributes"])
    lines = [
        _row(f"{bias.upper()} of {names}, corrected", [_estimate(corrected[bias][stage]) for stage in stages])
        for bias in ("rb", "ab")
    ]
    for row in corrected["attributes"]:
        accuracy = UNDEFINED if row["accuracy"]["value"] is None else f"{row['accuracy']['value']:.3f}"
        silent = f"abstains on {row['abstains_in_calibration']:.1%} of them, on {row['abstains']:.1%} of this table"
        quality = f"{row['n_calibrated']} calibrated rows, accuracy {accuracy} where it answers"
        line = f"  {row['attribute']}: {quality}; {silent}"
        lines.append(f"{line}; correction {UNDEFINED}: {row['undefined']}" if row["undefined"] else line)
    return lines


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


_MOST_KEPT = 10
_MOST_PAIRS = 40  # more rows of a love plot could not be read
_NAMES = {"before": "as the data came", "after": "under the weights", "realised": "as shown"}


def write_figures(audit: dict[str, Any], out: str | os.PathLike) -> None:
    """Write `love_plot.png`, `pairs.png`, with weights `kept.png`, and `audit.html` into the folder ``out``.

    The folder is replaced as a whole.
    """
    from matplotlib.figure import Figure

    figures = {"love_plot": ("Love plot", _love_plot), "pairs": ("Associations of pairs", _heat_map)}
    if "after" in audit["rb"]:
        figures["kept"] = ("Kept shares", _kept_plot)
    with atomic_folder(out) as folder:
        for name, (_, draw) in figures.items():
            figure = Figure(layout="constrained")
            draw(figure, audit)
            figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
        titles = {f"{name}.png": title for name, (title, _) in figures.items()}
        (folder / "audit.html").write_text(_page(audit, folder, titles), encoding="utf-8")


def _stages(audit: dict[str, Any]) -> list[str]:
    return [name for name in _NAMES if name in audit["rb"]]


def _love_plot(figure: Any, audit: dict[str, Any]) -> None:
    pairs = strongest_pairs(audit, _MOST_PAIRS)
    figure.set_size_inches(7, 1.5 + 0.22 * len(pairs))
    axes = figure.subplots()
    looks = zip(_stages(audit), "ox+", strict=False)
    draw_love_plot(axes, pairs, {stage: {"marker": m, "label": _NAMES[stage], "markersize": 5} for stage, m in looks})
    axes.tick_params(axis="y", labelsize=7)
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


def _kept_plot(figure: Any, audit: dict[str, Any]) -> None:
    """Kept share of every label and group, worst first."""
    parts = [part for part in audit["kept"] if not (part["group"] and part["label"])][:_MOST_PAIRS][::-1]
    figure.set_size_inches(7, 1.5 + 0.22 * len(parts))
    axes = figure.subplots()
    rows = range(len(parts))
    for stage, marker in zip([s for s in _stages(audit) if s != "before"], "x+", strict=False):
        axes.plot([part[stage] / part["before"] for part in parts], rows, marker, label=_NAMES[stage], markersize=5)
    axes.axvline(1, color="0.6", linewidth=1)
    axes.axvline(LOW_KEPT_SHARE, color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks(rows, [f"{part_name(part)} ({part['effective_rows']:.0f})" for part in parts], fontsize=7)
    axes.set_xlabel("share of the examples relative to the data as they came; in brackets: effective distinct rows")
    axes.xaxis.label.set_size(8)
    axes.set_xlim(left=0)
    axes.margins(y=0.5 / len(parts) if parts else 0.0)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)


def _page(audit: dict[str, Any], folder: Path, titles: dict[str, str]) -> str:
    images = "\n".join(
        f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{_encoded(folder / name)}">'
        for name, title in titles.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Audit</title>'
        "<style>body{font-family:sans-serif;margin:2em}pre{overflow-x:auto}img{max-width:100%}</style>"
        f"<h1>Audit</h1><pre>{html.escape(as_text(audit))}</pre>\n{images}</html>\n"
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
