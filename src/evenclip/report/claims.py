"""List of claims for the page, with the study's verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evenclip.report import words
from evenclip.report.words import number
from evenclip.results import Estimate

# signs, so that colour is not the only cue
SIGNS = {
    "supported": "✓", "refuted": "✗", "equivalent": "=", "undecided": "?", "not testable here": "–",
    "not tested here": "–",
}  # fmt: skip
WANTED = {
    "lower": "d < -{margin}",
    "higher": "d > {margin}",
    "not_lower": "d > -{margin}",
    "not_higher": "d < {margin}",
    "equivalent": "|d| < {margin}",
}
AT_0 = {
    "above_floor": "the mean is above the metric's floor",
    "lower": "d < 0",
    "higher": "d > 0",
    "pareto": "no other run is better in both",
}


@dataclass(frozen=True)
class ClaimRow:
    """One claim as shown on the page; ``tests`` has a line per test, or the reason why there is none."""

    name: str
    source: str
    statement: str
    wanted: str
    verdict: str
    sign: str
    primary: bool
    stopping: str
    tests: list[dict[str, str]]

    @property
    def tested(self) -> bool:
        """Whether this study has a test of the claim."""
        return any("runs" in test for test in self.tests)


def claim_rows(entries: list[dict[str, Any]], titles: Mapping[str, str] = {}) -> list[ClaimRow]:
    """Claims of claims.json in the file's order, each with all its tests.

    Parameters
    ----------
    entries : list of dict
        Content of claims.json.
    titles : mapping of str to str
        Names of runs for people, where they differ.
    """
    by_id: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_id.setdefault(entry["id"], []).append(entry)
    return [_row(claim_entries, titles) for claim_entries in by_id.values()]


def verdict_counts(rows: list[ClaimRow]) -> str:
    """Number of claims by verdict: ``3 supported, 1 refuted, 2 undecided, 9 not tested here``."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in SIGNS}
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)


def described(entry: dict[str, Any]) -> str:
    """Result of a test in words: its difference (for a Pareto claim, both) with interval, p and number of seeds.

    p is that of the claim, adjusted for the number of claims and looks; beside it the interval of this test at the
    level that the claim has in its family and at this look. The p of this test alone is in claims.json.
    """
    tested = [entry, entry["against"]] if entry["against"] else [entry]
    differences = [
        f"d = {words.interval(Estimate(part['estimate'], part['ci_low'], part['ci_high']))}" for part in tested
    ]
    text = f"{' and '.join(differences)}, {entry['n']} seeds"
    if entry["p_adjusted"] is None:
        return text
    ends = f"[{entry['adjusted_low']:.3f}, {entry['adjusted_high']:.3f}]"
    return f"{text}, p {number(entry['p_adjusted'])}, interval at that level {ends}"


def _row(entries: list[dict[str, Any]], titles: Mapping[str, str]) -> ClaimRow:
    first = entries[0]
    wanted = WANTED[first["kind"]].format(margin=number(first["margin"])) if first["margin"] else AT_0[first["kind"]]
    verdict = first["claim_verdict"]
    tests = [_test(entry, titles) for entry in entries]
    about = first["name"], first["source"], first["statement"], wanted, verdict, SIGNS[verdict]
    return ClaimRow(*about, first["primary"], _stopping(first["stopping"]), tests)


def _stopping(stopping: dict[str, Any] | None) -> str:
    """Whether more seeds are worth their time, in one sentence."""
    if stopping is None:
        return ""
    looks = f"looked at after {', '.join(map(str, stopping['looks']))} seeds"
    if stopping["decided_at"] is not None:
        return f"Decided with {stopping['decided_at']} seeds ({looks})."
    if stopping["conditional_power"] is None:
        return f"Undecided with all planned seeds ({looks})."
    chance = f"{100 * stopping['conditional_power']:.0f} % chance that all planned seeds decide it"
    return f"{stopping['state'].capitalize()} ({looks}; {chance}, if the truth is what was seen so far)."


def _test(entry: dict[str, Any], titles: Mapping[str, str]) -> dict[str, str]:
    metric = f"{entry['metric']} against {entry['against']['metric']}" if entry["against"] else entry["metric"]
    line = {"verdict": entry["verdict"], "sign": SIGNS[entry["verdict"]], "metric": metric}
    if entry["runs"] is None:
        return line | {"detail": entry["reason"]}
    detail = described(entry)
    if entry["mark"]:
        detail += f"; {entry['mark']}"
    if entry["reason"]:
        few = entry["reason"].removeprefix(f"{entry['n']} seeds, ")  # their number stands there already
        detail += f"; {few}"
    if entry["verdict"] == "undecided" and entry["detectable"] is not None:
        border = "the margin" if entry["margin"] else "0"
        detail += f"; a true d {number(entry['detectable'])} from {border} would be decided in 4 of 5 studies"
    run, reference = (titles.get(entry["runs"][of], entry["runs"][of]) for of in ("run", "reference"))
    return line | {"runs": f"{run} - {reference}", "detail": detail}
