"""What a study says of each claim: supported, refuted, undecided, or not tested here and why.

A claim says that a difference lies in a region; its margin bounds the region. Two one-sided p are computed: for the
claim (against everything outside the region) and against it (against everything inside). p = twice the smaller one, so
that both verdicts together err in at most 5 % of studies, and Holm's adjustment runs over all tests of the study's
claims. A claim that cannot be tested stands in the list with the reason.
"""

import fnmatch
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evenclip.summarize.claims import Claim
from evenclip.summarize.inference import LEVEL, Contrast, Layout, holm
from evenclip.summarize.roles import RunFacts, find_pair, find_run

NOT_TESTED = "not tested here"


@dataclass(frozen=True)
class Evidence:
    """One test of a claim. ``reference`` is the run compared with; for `pareto` the strongest rival, in ``metric``."""

    metric: str
    run: str
    reference: str
    difference: Contrast
    p_for: float
    p_against: float
    n_seeds: int

    @property
    def p(self) -> float:
        """Two-sided p about the border of the claim's region."""
        return min(1.0, 2 * min(self.p_for, self.p_against))


def judge(claims: list[Claim], runs: list[RunFacts], by_metric: dict[str, Layout]) -> list[dict[str, Any]]:
    """One entry per test, or per claim that cannot be tested, in the order of the claims: the rows of claims.json.

    Parameters
    ----------
    claims : list of Claim
    runs : list of RunFacts
        The study's runs, the baseline first.
    by_metric : dict
        Metric -> its values by run and seed.
    """
    found = [(claim, tested) for claim in claims for tested in _test(claim, runs, by_metric)]
    evidence = [tested for _, tested in found if isinstance(tested, Evidence)]
    adjusted = iter(holm([tested.p for tested in evidence]))
    return [
        _entry(claim) | (_tested(tested, next(adjusted)) if isinstance(tested, Evidence) else {"reason": tested})
        for claim, tested in found
    ]


def _test(claim: Claim, runs: list[RunFacts], by_metric: dict[str, Layout]) -> Iterator[Evidence | str]:
    """The tests of a claim, or the reason why there are none."""
    chosen = find_run(claim.run, runs) if claim.kind == "pareto" else find_pair(claim, runs)
    if isinstance(chosen, str):
        yield chosen
        return
    names = [chosen.name] if claim.kind == "pareto" else [run.name for run in chosen]
    metrics, against = (
        [name for name, layout in by_metric.items() if pattern and fnmatch.fnmatchcase(name, pattern)
         and set(names) <= set(layout.runs)]
        for pattern in (claim.metric, claim.against)
    )  # fmt: skip
    missing = claim.metric if not metrics else claim.against if claim.against and not against else None
    if missing:
        yield f"{' and '.join(names)}: no {missing}"
    elif claim.kind == "pareto":
        for pair in itertools.product(metrics, against):
            yield _pareto(names[0], pair, by_metric)
    else:
        for metric in metrics:
            yield _compare(claim, metric, *names, by_metric[metric])


def _compare(claim: Claim, metric: str, run: str, reference: str, layout: Layout) -> Evidence | str:
    d, margin = layout.difference(run, reference), claim.margin
    if not d.testable:
        return f"{metric} of {run} and {reference}: {_no_spread(layout)}"
    p_for, p_against = {
        "lower": lambda: (d.p_below(-margin), d.p_above(-margin)),
        "higher": lambda: (d.p_above(margin), d.p_below(margin)),
        "not_lower": lambda: (d.p_above(-margin), d.p_below(-margin)),
        "not_higher": lambda: (d.p_below(margin), d.p_above(margin)),
        "equivalent": lambda: (d.p_within(margin), d.p_outside(margin)),
    }[claim.kind]()
    return Evidence(metric, run, reference, d, p_for, p_against, layout.n_seeds)


def _pareto(run: str, metrics: tuple[str, str], by_metric: dict[str, Layout]) -> Evidence | str:
    """Is no rival better in both metrics? For it: better than each rival in one (an intersection-union test, Bonferroni
    over the two metrics). Against it: some rival better in both, Bonferroni over the rivals."""
    bias, quality = (by_metric[name] for name in metrics)
    rivals = [name for name in bias.runs if name != run and name in quality.runs]
    if not rivals:
        return f"{run} is the only run"
    contrasts = {name: (bias.difference(run, name), quality.difference(run, name)) for name in rivals}
    if not all(d.testable for pair in contrasts.values() for d in pair):
        return f"{run}: {_no_spread(bias)}"
    better = {name: (low.p_below(0), high.p_above(0)) for name, (low, high) in contrasts.items()}
    p_for = {name: min(1.0, 2 * min(pair)) for name, pair in better.items()}
    p_against = min(max(low.p_above(0), high.p_below(0)) for low, high in contrasts.values())
    rival = max(p_for, key=p_for.get)
    side = int(better[rival][1] < better[rival][0])
    return Evidence(
        metrics[side], run, rival, contrasts[rival][side], p_for[rival], min(1.0, len(rivals) * p_against), bias.n_seeds
    )


def _no_spread(layout: Layout) -> str:
    return "one seed gives no test" if layout.n_seeds == 1 else "no spread over the seeds to judge by"


def _entry(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id, "name": claim.name, "source": claim.source, "statement": claim.statement, "kind": claim.kind,
        "margin": claim.margin, "metric": f"{claim.metric} against {claim.against}" if claim.against else claim.metric,
        "runs": None, "estimate": None, "ci_low": None, "ci_high": None, "df": None, "n": None, "p": None,
        "p_holm": None, "detectable": None, "verdict": NOT_TESTED, "reason": None,
    }  # fmt: skip


def _tested(evidence: Evidence, p_holm: float) -> dict[str, Any]:
    low, high = evidence.difference.interval()
    decided = "supported" if evidence.p_for < evidence.p_against else "refuted"
    return {
        "metric": evidence.metric, "runs": {"run": evidence.run, "reference": evidence.reference},
        "estimate": evidence.difference.estimate, "ci_low": low, "ci_high": high, "df": evidence.difference.df,
        "n": evidence.n_seeds, "p": evidence.p, "p_holm": p_holm, "detectable": evidence.difference.detectable,
        "verdict": decided if p_holm <= LEVEL else "undecided",
    }  # fmt: skip
