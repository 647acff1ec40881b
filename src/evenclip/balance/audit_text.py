"""An audit for people: a table in plain text."""

from typing import Any


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
        return "-"
    if value["ci_low"] is None:
        return f"{value['value']:.4f}"
    return f"{value['value']:.4f} [{value['ci_low']:.4f}, {value['ci_high']:.4f}]"
