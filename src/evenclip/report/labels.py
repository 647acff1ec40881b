"""Figures of single labels: heat maps of their association with groups, love plots, and what balancing kept of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D

from evenclip.balance.love_plot import draw_love_plot, names_of, strongest_pairs
from evenclip.bias import UNDEFINED
from evenclip.report import words
from evenclip.report.drawing import COLORS, GREY, PAPER, Picture, finish, name_rows, panel, run_style, wrapped
from evenclip.results import StudyResults

N_LABELS = 24  # rows of a figure, the strongest first
N_COLUMNS = 16
N_COLUMNS_WITH_NUMBERS = 8
ON_LIGHT, ON_DARK = "#000000", "#fefefe"  # numbers in cells, whose colours are the same in dark mode
MIDDLE = 0.18  # luminance with equal contrast to both


def model_associations(study: StudyResults, metric: str) -> Picture | None:
    """Heat map of a model's association with each label (row) and group, by run; None without values of single labels.

    Parameters
    ----------
    study : StudyResults
    metric : str
        Association bias of a set, `bias/<set>/ab_max`.
    """
    signed = metric.removesuffix("_max")
    table = study.summary[(study.summary["metric"] == signed) & (study.summary["group"] != "")]
    table = table[table["mean"].notna()]
    if table.empty:
        return None
    value = {(row.run, row.group): float(row.mean) for row in table.itertuples()}
    pairs = {cell: tuple(cell.rpartition(", ")[::2]) for cell in dict.fromkeys(table["group"])}
    several = len({group for label, group in pairs.values() if label}) > 1
    split = {cell: (label, group) if several and label else (cell, "") for cell, (label, group) in pairs.items()}
    labels = list(dict.fromkeys(label for label, _ in split.values()))
    groups = list(dict.fromkeys(group for _, group in split.values()))
    cell_of = {names: cell for cell, names in split.items()}
    columns = [(run.name, group) for run in study.runs for group in groups][:N_COLUMNS]
    values = np.array(
        [[value.get((run, cell_of.get((label, group))), np.nan) for run, group in columns] for label in labels]
    )
    names = [f"{study.run_title(run)}{f', {group}' * bool(group)}" for run, group in columns]
    title = f"Association of single labels, {metric.split('/')[1]}"
    return heat_map(f"{words.metric(study, signed)} by label", title, labels, names, values)


def data_associations(audits: dict[str, dict[str, Any]]) -> Picture | None:
    """Heat map of the data's association of each label (row) with each group: as it came, and as shown in training.

    Parameters
    ----------
    audits : dict
        `evenclip.balance.audit` of each strategy's weights, by strategy.
    """
    first = next(iter(audits.values()))
    pairs = [pair for pair in first["associations"] if pair["status"] == "ok"]
    if not pairs:
        return None
    labels = list(dict.fromkeys(pair["label"] for pair in pairs))
    groups = list(dict.fromkeys(pair["group"] for pair in pairs))
    stages = {"as it came": (first, "before")}
    stages |= {name: (audit, "realised") for name, audit in audits.items() if name != "none"}
    value = {
        (name, pair["group"], pair["label"]): pair[stage]["value"]
        for name, (audit, stage) in stages.items()
        for pair in audit["associations"]
        if stage in pair
    }
    columns = [(name, group) for name in stages for group in groups][:N_COLUMNS]
    values = np.array([[_or_nan(value.get((*column, label))) for column in columns] for label in labels])
    names = [f"{name}{f', {words.short_group(group)}' * (len(groups) > 1)}" for name, group in columns]
    title = (
        f"Labels of {words.short_group(groups[0])} in the data" if len(groups) == 1 else "Labels of groups in the data"
    )
    return heat_map(
        "association in the data by label", title, [words.short_label(name) for name in labels], names, values
    )


def heat_map(name: str, title: str, rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> Picture:
    """Heat map of signed values around 0, strongest rows first; few columns also show numbers.

    Parameters
    ----------
    name, title : str
    rows, columns : sequence of str
    values : numpy.ndarray, shape (n_rows, n_columns)
        NaN = no value.
    """
    order = np.argsort(-np.nan_to_num(np.abs(values)).max(axis=1), kind="stable")[:N_LABELS]
    rows, values = [rows[i] for i in order], values[order]
    largest = max(float(np.nanmax(np.abs(values), initial=0)), 0.01)
    tilted = max(len(column) for column in columns) * len(columns) > 42
    with panel(1.2 + 0.24 * len(rows) + 0.6 * tilted) as (figure, axes):
        mesh = axes.pcolormesh(
            values, cmap="PuOr_r", norm=TwoSlopeNorm(0, -largest, largest), edgecolors=PAPER, linewidth=1
        )
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, [wrapped(row, 28) for row in rows])
        axes.tick_params(length=0)
        if tilted:
            upright = len(columns) > N_COLUMNS_WITH_NUMBERS
            axes.tick_params(axis="x", rotation=90 if upright else 35, labelsize=8 if upright else 10)
            for label in axes.get_xticklabels():
                label.set(ha="right", va="center" if upright else "top", rotation_mode="anchor")
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if len(columns) <= N_COLUMNS_WITH_NUMBERS:
            for (i, j), value in np.ndenumerate(values):
                if np.isfinite(value):
                    color = ON_LIGHT if _luminance(mesh.cmap(mesh.norm(value))) > MIDDLE else ON_DARK
                    axes.text(j + 0.5, i + 0.5, _short(value), ha="center", va="center", fontsize=7.5, color=color)
        else:
            figure.colorbar(mesh, ax=axes, shrink=0.7)
        axes.set_title(wrapped(title, 44))
        strongest = "; ".join(
            f"{row}: " + ", ".join(f"{column} {_short(value)}" for column, value in zip(columns, line, strict=True))
            for row, line in zip(rows, values, strict=True)
        )
        return finish(figure, name, f"{title}: {strongest}.")


def kept_shares(study: StudyResults) -> Picture | None:
    """Share of its examples that each label keeps under each strategy, worst kept first; None if all keep all."""
    shares = {
        name: {part["label"]: part["kept"] for part in report["kept"] if part["label"] and not part["group"]}
        for name, report in study.strategies.items()
        if any(abs(part["kept"] - 1) > 1e-9 for part in report["kept"])
    }
    shares = {name: kept for name, kept in shares.items() if kept}
    if not shares:
        return None
    worst = {label: min(kept.get(label, 1) for kept in shares.values()) for kept in shares.values() for label in kept}
    labels = sorted(worst, key=worst.get)[:N_LABELS]
    first_run = {run.strategy: i for i, run in reversed(list(enumerate(study.runs)))}
    with panel(1.4 + 0.24 * len(labels)) as (figure, axes):
        handles = []
        for name, kept in shares.items():
            look = run_style(first_run[name]) | {"linestyle": "", "markersize": 6}
            axes.plot([kept.get(label, np.nan) for label in labels], range(len(labels)), **look)
            handles.append(Line2D([], [], **look, label=name))
        axes.axvline(1, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
        name_rows(axes, [wrapped(words.short_label(label), 28) for label in labels])
        axes.set_xlim(left=0)
        axes.set(xlabel="kept share (1 = as before)", title="What balancing keeps of each label")
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
        texts = "; ".join(
            f"{name} {', '.join(f'{label} {kept[label]:.2f}' for label in labels if label in kept)}"
            for name, kept in shares.items()
        )
        return finish(figure, "kept share of each label", f"Kept share of each label, worst first: {texts}.")


def love_plot(audit: dict[str, Any], strategy: str) -> Picture | None:
    """Love plot: standardised mean difference of each label between perceived groups, before and after balancing.

    Shows the `N_LABELS` strongest; None if no group and label have enough pairs.

    Parameters
    ----------
    audit : dict
        `evenclip.balance.audit` of the strategy's weights.
    """
    pairs = strongest_pairs(audit, N_LABELS)
    if not pairs:
        return None
    looks = {
        "before": {"marker": "o", "color": GREY, "markerfacecolor": PAPER, "label": "original"},
        "realised": {"marker": "s", "color": COLORS[0], "label": "as shown in training"},
    }
    with panel(1.3 + 0.24 * len(pairs)) as (figure, axes):
        draw_love_plot(axes, pairs, {stage: look | {"markersize": 6} for stage, look in looks.items()})
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set(title=wrapped(f"Association with labels, {strategy}", 44))
        figure.legend(loc="outside lower center", ncols=2)
        texts = "; ".join(
            f"{name} {abs(pair['before']['smd']):.2f} to {_in_words(pair['realised']['smd'])}"
            for name, pair in zip(names_of(pairs), pairs, strict=True)
        )
        return finish(
            figure, f"labels under {strategy}", f"Standardised differences before and after {strategy}: {texts}."
        )


def _in_words(difference: float | None) -> str:
    return UNDEFINED if difference is None else f"{abs(difference):.2f}"


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _short(value: float) -> str:
    if not np.isfinite(value):
        return UNDEFINED
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text


def _luminance(color: Sequence[float]) -> float:
    """Relative luminance of an RGBA colour (WCAG 2)."""
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in color[:3]]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
