"""Verdict of a study on each claim: supported, refuted, undecided, or not tested here, with the reason.

A claim says that a difference lies in a region bounded by its margin. Two one-sided p values are computed: one for the
claim (rejecting all values outside the region) and one against it (rejecting all values inside). p is twice the smaller
one, so both verdicts together err in at most 5 % of studies. Holm's adjustment is over all tests of the study's claims.
A claim that cannot be tested is listed with the reason.

Each metric that matches a claim's pattern is a separate test. The claim is refuted if any test refutes it, supported if
all tests support it, and otherwise undecided.
"""

import fnmatch
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from evenclip.summarize.claims import Claim
from evenclip.summarize.inference import LEVEL, Contrast, RunsBySeeds, holm
from evenclip.summarize.roles import RunFacts, find_pair, find_run

NOT_TESTED = "not tested here"


@dataclass(frozen=True)
class Evidence:
    """Result of one test of a claim.

    ``reference`` is the run compared with; for `pareto` it is the deciding rival, with the difference in both metrics.
    """

    metric: str
    run: str
    reference: str
    difference: Contrast
    p_for: float
    p_against: float
    n_seeds: int
    against: str | None = None
    difference_against: Contrast | None = None

    @property
    def p(self) -> float:
        """Two-sided p value at the border of the claim's region."""
        return min(1.0, 2 * min(self.p_for, self.p_against))

    @property
    def leaning(self) -> str:
        """Verdict if p is small enough."""
        return "supported" if self.p_for < self.p_against else "refuted"


def judge(
    claims: list[Claim], runs: list[RunFacts], by_metric: dict[str, RunsBySeeds], people: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Test all claims; one entry of claims.json per test, or per claim that cannot be tested, in the order of claims.

    Parameters
    ----------
    claims : list of Claim
    runs : list of RunFacts
        The study's runs, the baseline first.
    by_metric : dict
        Values by metric, run and seed.
    people : collection of str
        Metrics about people.
    """
    results = [(claim, tested) for claim in claims for tested in _test(claim, runs, by_metric, people)]
    evidence = [tested for _, tested in results if isinstance(tested, Evidence)]
    adjusted = iter(holm([tested.p for tested in evidence]))
    entries = [
        _entry(claim)
        | (_tested(tested, next(adjusted), len(evidence)) if isinstance(tested, Evidence) else {"reason": tested})
        for claim, tested in results
    ]
    verdicts: dict[str, set[str]] = {}
    for entry in entries:
        verdicts.setdefault(entry["id"], set()).add(entry["verdict"])
    return [entry | {"claim_verdict": _combined_verdict(verdicts[entry["id"]])} for entry in entries]


def _combined_verdict(verdicts: set[str]) -> str:
    """Verdict on a claim from those of its tests; metrics that were not tested do not count."""
    tested = verdicts - {NOT_TESTED}
    if not tested:
        return NOT_TESTED
    return "refuted" if "refuted" in tested else "undecided" if "undecided" in tested else "supported"


def _test(
    claim: Claim, runs: list[RunFacts], by_metric: dict[str, RunsBySeeds], people: Collection[str]
) -> Iterator[Evidence | str]:
    """Yield the tests of a claim, or the reason why there are none."""
    chosen = find_run(claim.run, runs) if claim.kind == "pareto" else find_pair(claim, runs)
    if isinstance(chosen, str):
        yield chosen
        return
    names = [chosen.name] if claim.kind == "pareto" else [run.name for run in chosen]
    shared = [name for name, table in by_metric.items() if set(names) <= set(table.runs)]
    metrics, against = (_fitting(claim, pattern, shared, people) for pattern in (claim.metric, claim.against))
    missing = claim.metric if not metrics else claim.against if claim.against and not against else None
    if missing:
        yield f"{' and '.join(names)}: no {missing}"
    elif claim.kind == "pareto":
        for pair in itertools.product(metrics, against):
            yield _pareto(names[0], pair, by_metric)
    else:
        for metric in metrics:
            yield _compare(claim, metric, *names, by_metric[metric])


def _fitting(claim: Claim, pattern: str | None, metrics: list[str], people: Collection[str]) -> list[str]:
    """Metrics that match a pattern of the claim and, if its ``people`` applies to that pattern, this setting."""
    fitting = [name for name in metrics if pattern and fnmatch.fnmatchcase(name, pattern)]
    if claim.people is None or pattern != (claim.against or claim.metric):
        return fitting
    return [name for name in fitting if (name in people) == claim.people]


def _compare(claim: Claim, metric: str, run: str, reference: str, table: RunsBySeeds) -> Evidence | str:
    d, margin = table.difference(run, reference), claim.margin
    if not d.testable:
        return f"{metric} of {run} and {reference}: {_no_spread(table)}"
    p_for, p_against = {
        "lower": lambda: (d.p_below(-margin), d.p_above(-margin)),
        "higher": lambda: (d.p_above(margin), d.p_below(margin)),
        "not_lower": lambda: (d.p_above(-margin), d.p_below(-margin)),
        "not_higher": lambda: (d.p_below(margin), d.p_above(margin)),
        "equivalent": lambda: (d.p_within(margin), d.p_outside(margin)),
    }[claim.kind]()
    return Evidence(metric, run, reference, d, p_for, p_against, table.n_seeds)


def _pareto(run: str, metrics: tuple[str, str], by_metric: dict[str, RunsBySeeds]) -> Evidence | str:
    """Test whether no rival is better in both metrics.

    For the claim: better than each rival in one metric (intersection-union test, Bonferroni over the two metrics).
    Against it: some rival is better in both (Bonferroni over the rivals).
    """
    bias, quality = (by_metric[name] for name in metrics)
    rivals = [name for name in bias.runs if name != run and name in quality.runs]
    if not rivals:
        return f"{run} is the only run"
    contrasts = {name: (bias.difference(run, name), quality.difference(run, name)) for name in rivals}
    if not all(d.testable for pair in contrasts.values() for d in pair):
        return f"{run}: {_no_spread(bias)}"
    better = {name: min(1.0, 2 * min(low.p_below(0), high.p_above(0))) for name, (low, high) in contrasts.items()}
    worse = {name: max(low.p_above(0), high.p_below(0)) for name, (low, high) in contrasts.items()}
    hardest, best = max(better, key=better.get), min(worse, key=worse.get)
    p_for, p_against = better[hardest], min(1.0, len(rivals) * worse[best])
    rival = hardest if p_for < p_against else best
    return Evidence(
        metrics[0], run, rival, contrasts[rival][0], p_for, p_against, bias.n_seeds, metrics[1], contrasts[rival][1]
    )


def _no_spread(table: RunsBySeeds) -> str:
    return "a single seed gives no test" if table.n_seeds == 1 else "no variation over seeds"


def _entry(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id, "name": claim.name, "source": claim.source, "statement": claim.statement, "kind": claim.kind,
        "margin": claim.margin, "metric": f"{claim.metric} against {claim.against}" if claim.against else claim.metric,
        "runs": None, "estimate": None, "ci_low": None, "ci_high": None, "df": None, "against": None, "n": None,
        "p": None, "p_holm": None, "detectable": None, "verdict": NOT_TESTED, "reason": None,
    }  # fmt: skip


def _tested(evidence: Evidence, p_holm: float, n_tests: int) -> dict[str, Any]:
    entry = {
        "metric": evidence.metric, "runs": {"run": evidence.run, "reference": evidence.reference},
        **_described(evidence.difference), "n": evidence.n_seeds, "p": evidence.p, "p_holm": p_holm,
        "verdict": evidence.leaning if p_holm <= LEVEL else "undecided",
    }  # fmt: skip
    if evidence.difference_against is None:
        return entry | {"detectable": evidence.difference.detectable(LEVEL / n_tests)}
    return entry | {"against": {"metric": evidence.against, **_described(evidence.difference_against)}}


def _described(difference: Contrast) -> dict[str, float]:
    low, high = difference.interval()
    return {"estimate": difference.estimate, "ci_low": low, "ci_high": high, "df": difference.df}
