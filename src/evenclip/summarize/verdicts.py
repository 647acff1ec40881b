"""Verdict of a study on each claim, with its place in the family of all claims and in the sequence of looks.

Every metric that matches a claim's pattern is a separate test. The claim is supported if all tests support it, refuted
if any test refutes it, equivalent if all find a difference too small to matter, and otherwise undecided. Its p is
therefore twice the smallest of: the largest p for it, the smallest p against it times the number of tests, and the
largest p of equivalence. Primary claims are adjusted by Holm's method, the others by that of Benjamini and Hochberg.

No verdict falls below 8 seeds. A claim whose baseline is at its floor or ceiling is not testable here.
"""

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evenclip.metrics import known_metrics
from evenclip.summarize.claims import Claim, narrowed
from evenclip.summarize.evidence import Evidence, Looks, Scale, tests_of
from evenclip.summarize.inference import LEVEL, Contrast, RunsBySeeds
from evenclip.summarize.knowing_less import BIAS, mark
from evenclip.summarize.multiplicity import benjamini_hochberg, benjamini_hochberg_levels, holm, holm_levels
from evenclip.summarize.options import OWN_VARIANCE
from evenclip.summarize.roles import RunFacts
from evenclip.summarize.sequential import boundaries, conditional_power, nominal_level

NOT_TESTED, NOT_TESTABLE, UNDECIDED = "not tested here", "not testable here", "undecided"
PLANNED_LOOKS = (8, 16, 24)
FUTILE = 0.1
"""Conditional power below which more seeds are not worth their time."""


@dataclass(frozen=True)
class Judged:
    """A claim with the tests that it has in a study, and reasons where it has none."""

    claim: Claim
    results: Sequence[Evidence | str]
    is_primary: bool = False

    @cached_property
    def tests(self) -> list[Evidence]:
        """Tests of enough seeds."""
        return [tested for tested in self.results if isinstance(tested, Evidence) and tested.sequential]

    @property
    def counts(self) -> bool:
        """Whether the claim counts in its family: it has a test, or only its baseline's level forbids one."""
        gated = any(isinstance(result, str) and NOT_TESTABLE in result for result in self.results)
        return bool(self.tests) or gated

    def p(self, look: int = -1) -> float:
        """Two-sided p of the claim over all looks up to ``look``; 1 without a test."""
        if not self.tests or abs(look) > min(len(tested.sequential) for tested in self.tests):
            return 1.0
        combined = [
            _combined(verdict, [tested.sequential[look][verdict] for tested in self.tests])
            for verdict in self.tests[0].p
        ]
        return min(1.0, 2 * min(combined))

    def verdict_of(self, tested: Evidence, level: float) -> str:
        """Verdict of a test at the claim's ``level``."""
        times = {"supported": 1, "refuted": len(self.tests), "equivalent": 1}
        p = {verdict: 2 * times[verdict] * value for verdict, value in tested.sequential[-1].items()}
        best = min(p, key=p.get)
        return best if p[best] <= level else UNDECIDED


def judge(
    claims: list[Claim], runs: list[RunFacts], by_metric: Mapping[str, RunsBySeeds], people: Collection[str] = (),
    scales: Mapping[str, Scale] = {}, looks: Sequence[int] = PLANNED_LOOKS, primary: Mapping[str, str] = {},
) -> list[dict[str, Any]]:  # fmt: skip
    """Test all claims; one entry of claims.json per test, or per reason why there is none, in the order of claims.

    Parameters
    ----------
    claims : list of Claim
    runs : list of RunFacts
        The study's runs, the baseline first.
    by_metric : mapping
        Values by metric, run and seed; seeds in the order in which they were added.
    people : collection of str
        Metrics about people.
    scales : mapping of str to Scale
        Floor and ceiling of each metric.
    looks : sequence of int
        Planned looks, as numbers of seeds.
    primary : mapping of str to str
        Metric that decides each primary claim, by its id.
    """
    plan = Looks(tuple(looks))
    judged = [
        Judged(claim, list(tests_of(claim, runs, by_metric, people, scales, plan)), claim.id in primary)
        for claim in narrowed(claims, primary)
    ]
    adjustments = _family_adjustments(judged)
    entries = []
    for outcome in judged:
        rows = [
            _entry(outcome, result, plan, *adjustments.get(outcome.claim.id, (None, None)))
            for result in outcome.results
        ]
        verdict = combined_verdict({row["verdict"] for row in rows})
        stopping = _stopping(outcome, verdict, plan, adjustments[outcome.claim.id][1]) if outcome.tests else None
        entries += [
            row | {"claim_verdict": verdict, "stopping": stopping, "mark": _mark(row, by_metric, people)}
            for row in rows
        ]
    return entries


def _mark(entry: dict[str, Any], by_metric: Mapping[str, RunsBySeeds], people: Collection[str]) -> str | None:
    """Mark of a test of lower association bias whose run also knows the labels less."""
    if entry["runs"] is None or entry["against"] or not fnmatch.fnmatchcase(entry["metric"], BIAS):
        return None
    return mark(entry["runs"]["run"], entry["runs"]["reference"], by_metric, people)


def combined_verdict(verdicts: set[str]) -> str:
    """Verdict on a claim from those of its tests; metrics that were not tested do not count."""
    tested = verdicts - {NOT_TESTED, NOT_TESTABLE}
    if not tested:
        return NOT_TESTABLE if NOT_TESTABLE in verdicts else NOT_TESTED
    if "refuted" in tested:
        return "refuted"
    return tested.pop() if len(tested) == 1 else UNDECIDED


def _combined(verdict: str, p: Sequence[float]) -> float:
    """One-sided p of a claim's verdict from those of its tests: any test refutes it, all must support it."""
    return min(1.0, len(p) * min(p)) if verdict == "refuted" else max(p)


def _family_adjustments(judged: list[Judged]) -> dict[str, tuple[float, float]]:
    """Adjusted p and level of each claim that counts, by id.

    Claims that are not testable for their baseline's level count with p = 1, since the data say so.
    """
    adjustments = {}
    for primary in (True, False):
        family = [outcome for outcome in judged if outcome.is_primary == primary and outcome.counts]
        p = [outcome.p() for outcome in family]
        adjusted, levels = (holm, holm_levels) if primary else (benjamini_hochberg, benjamini_hochberg_levels)
        if family:
            numbers = zip(family, adjusted(p), levels(p, LEVEL), strict=True)
            adjustments |= {outcome.claim.id: (p_adjusted, level) for outcome, p_adjusted, level in numbers}
    return adjustments


def _stopping(judged: Judged, verdict: str, looks: Looks, level: float) -> dict[str, Any]:
    """Whether more seeds are worth their time, at the claim's present level."""
    n_seeds = judged.tests[0].n_seeds
    taken, shares = looks.taken(n_seeds), looks.shares(n_seeds)
    if verdict != UNDECIDED:
        decided = next((n for look, n in enumerate(taken) if judged.p(look - len(taken)) <= level), n_seeds)
        return {"looks": taken, "state": "stopped for success", "decided_at": decided, "conditional_power": None}
    if n_seeds >= looks.planned[-1]:
        return {"looks": taken, "state": "all planned seeds are there", "decided_at": None, "conditional_power": None}
    final = boundaries((*shares, 1.0), level / 2)[-1]
    by_verdict = [
        conditional_power(_combined(name, [tested.p[name] for tested in judged.tests]), shares[-1], final)
        for name in judged.tests[0].p
    ]
    power = max(by_verdict)
    state = "futile: more seeds will hardly decide it" if power < FUTILE else "undecided: add seeds"
    return {"looks": taken, "state": state, "decided_at": None, "conditional_power": power}


def _entry(
    judged: Judged, result: Evidence | str, looks: Looks, p_adjusted: float | None, level: float | None
) -> dict[str, Any]:
    claim = judged.claim
    entry = {
        "id": claim.id, "name": claim.name, "source": claim.source, "statement": claim.statement, "kind": claim.kind,
        "margin": claim.margin, "equivalence": claim.equivalence, "primary": judged.is_primary,
        "metric": f"{claim.metric} against {claim.against}" if claim.against else claim.metric,
        "runs": None, "estimate": None, "ci_low": None, "ci_high": None, "df": None, "against": None, "n": None,
        "p": None, "p_adjusted": None, "level": None, "adjusted_low": None, "adjusted_high": None, "detectable": None,
        "verdict": NOT_TESTED, "reason": None,
    }  # fmt: skip
    if isinstance(result, str):
        return entry | {"reason": result, "verdict": NOT_TESTABLE if NOT_TESTABLE in result else NOT_TESTED}
    entry |= {"metric": result.metric, "runs": {"run": result.run, "reference": result.reference}}
    entry |= _described(result.metric, result.difference)
    entry |= {"n": result.n_seeds, "p": min(1.0, 2 * min(result.p.values()))}
    if result.difference_against is not None:
        entry |= {"against": {"metric": result.against, **_described(result.against, result.difference_against)}}
    if not result.sequential:
        reason = f"{result.n_seeds} seeds, at least {OWN_VARIANCE} needed"
        return entry | {"verdict": UNDECIDED, "reason": reason}
    at_look = 2 * nominal_level(looks.shares(result.n_seeds), level / 2)
    low, high = _in_range(result.metric, result.difference.interval(at_look))
    detectable = result.difference.detectable(at_look) if result.difference_against is None else None
    return entry | {
        "p_adjusted": p_adjusted, "level": level, "adjusted_low": low, "adjusted_high": high, "detectable": detectable,
        "verdict": judged.verdict_of(result, level),
    }  # fmt: skip


def _described(metric: str, difference: Contrast) -> dict[str, float]:
    low, high = _in_range(metric, difference.interval())
    return {"estimate": difference.estimate, "ci_low": low, "ci_high": high, "df": difference.df}


def _in_range(metric: str, interval: tuple[float, float]) -> tuple[float, float]:
    """Interval of a difference of two values of ``metric``, cut to its range, which is [-width, width]."""
    definition = known_metrics().of(metric)
    if definition is None or definition.high is None:
        return interval
    width = definition.high - definition.low
    return max(interval[0], -width), min(interval[1], width)
