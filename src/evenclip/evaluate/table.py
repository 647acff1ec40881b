"""An evaluation for people to read: a plain table, metrics about people apart from the others."""

from collections.abc import Iterator, Mapping
from typing import Any

HEADER = ("metric", "group", "value", "95 % interval", "random", "n")


def as_text(document: Mapping[str, Any]) -> str:
    """The table of an evaluation's JSON document; "insufficient" where a group is too small for a number."""
    parts = []
    for title, people in (("about people", True), ("not about people", False)):
        rows = [_cells(row) for row in document["metrics"] if row["people"] == people]
        if rows:
            parts.append("\n".join([title, *_aligned([HEADER, *rows])]))
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = "" if row["ci_low"] is None else f"[{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
    value = "insufficient" if row["value"] is None else f"{row['value']:.4f}"
    random = "" if row["random"] is None else f"{row['random']:.4f}"
    return row["metric"], row["group"].removesuffix(" (insufficient)"), value, interval, random, str(row["n"])


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        padded += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield f"  {'  '.join(padded)}"
