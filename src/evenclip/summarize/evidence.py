"""Tests of one claim: the runs and metrics it speaks of, whether they can tell, and p values at every look.

A claim says that a difference lies in a region bounded by its margin. One-sided p values are computed for each verdict:
for the claim (rejecting all values outside the region), against it (rejecting all values inside) and, if it has an
equivalence margin, for a difference too small to matter (two one-sided tests). At most one of these statements holds
beyond its border, so that together they err as often as one test.
"""

import fnmatch
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evenclip.summarize.claims import Claim
from evenclip.summarize.inference import Contrast, RunsBySeeds
from evenclip.summarize.options import OWN_VARIANCE
from evenclip.summarize.roles import RunFacts, find_pair, find_run
from evenclip.summarize.sequential import sequential_p


@dataclass(frozen=True)
class Scale:
    """What a metric can show: a model that knows nothing, or has seen no bias, is at ``floor``; NaN = unknown."""

    floor: float = math.nan
    floor_is: str = "chance"
    ceiling: float = math.nan

    def gate(self, claim: Claim, baseline: float) -> str | None:
        """Why a difference from a run at ``baseline`` could not show; None if it could.

        Harm shows also at the ceiling (`not_lower`), a rise also at the floor (`not_higher`).
        """
        if claim.kind != "not_higher" and baseline < self.floor + claim.gate:
            where = "chance" if self.floor_is == "chance" else f"the floor, {self.floor_is}"
            return f"not testable here: at {where} ({baseline:.3f}; needs {self.floor:.3f} + {claim.gate:g})"
        if claim.kind != "not_lower" and baseline > self.ceiling - claim.gate:
            return f"not testable here: at its ceiling ({baseline:.3f}; needs {self.ceiling:g} - {claim.gate:g})"
        return None


@dataclass(frozen=True)
class Looks:
    """Planned looks at a growing study, as numbers of seeds; the last is the most that verdicts are made of."""

    planned: tuple[int, ...]

    def taken(self, n_seeds: int) -> tuple[int, ...]:
        """Looks so far: the planned ones, and one now; none below the fewest seeds for a verdict."""
        now = min(n_seeds, self.planned[-1])
        return (
            tuple(dict.fromkeys([look for look in self.planned if look < now] + [now])) if now >= OWN_VARIANCE else ()
        )

    def shares(self, n_seeds: int) -> tuple[float, ...]:
        """Share of all planned seeds at each look so far."""
        return tuple(look / self.planned[-1] for look in self.taken(n_seeds))


@dataclass(frozen=True)
class Evidence:
    """Result of one test of a claim.

    ``reference`` is the run compared with; for `pareto` it is the deciding rival, with the difference in both metrics.
    ``p`` has the one-sided p of each verdict at the last look, ``sequential`` their p over all looks up to each look,
    which is {} with too few seeds.
    """

    metric: str
    run: str
    reference: str
    difference: Contrast
    n_seeds: int
    p: Mapping[str, float]
    sequential: Sequence[Mapping[str, float]] = ()
    against: str | None = None
    difference_against: Contrast | None = None


def tests_of(
    claim: Claim, runs: list[RunFacts], by_metric: Mapping[str, RunsBySeeds], people: Collection[str],
    scales: Mapping[str, Scale], looks: Looks,
) -> Iterator[Evidence | str]:  # fmt: skip
    """Yield the tests of a claim, or reasons why there are none."""
    if claim.not_tested_because:
        yield claim.not_tested_because
        return
    alone = claim.reference is None
    chosen = find_run(claim.run, runs) if alone else find_pair(claim, runs)
    if isinstance(chosen, str):
        yield chosen
        return
    names = [chosen.name] if alone else [run.name for run in chosen]
    shared = [name for name, table in by_metric.items() if set(names) <= set(table.runs)]
    metrics, against = (_fitting(claim, pattern, shared, people) for pattern in (claim.metric, claim.against))
    missing = claim.metric if not metrics else claim.against if claim.against and not against else None
    if missing:
        yield f"{' and '.join(names)}: no {missing}"
    elif claim.kind == "pareto":
        for pair in itertools.product(metrics, against):
            yield _over_looks(claim, pair, names, by_metric, looks, Scale())
    else:
        for metric in metrics:
            scale = scales.get(metric, Scale())
            reason = None if alone else scale.gate(claim, by_metric[metric].mean(names[1]).estimate)
            if alone and math.isnan(scale.floor):
                reason = "no floor is known"
            if reason:
                yield f"{metric} of {names[-1]}: {reason}"
            else:
                yield _over_looks(claim, (metric,), names, by_metric, looks, scale)


def _fitting(claim: Claim, pattern: str | None, metrics: list[str], people: Collection[str]) -> list[str]:
    """Metrics that match a pattern of the claim and, if its ``people`` applies to that pattern, this setting."""
    fitting = [name for name in metrics if pattern and fnmatch.fnmatchcase(name, pattern)]
    if claim.people is None or pattern != (claim.against or claim.metric):
        return fitting
    return [name for name in fitting if (name in people) == claim.people]


def _over_looks(
    claim: Claim,
    metrics: Sequence[str],
    names: list[str],
    by_metric: Mapping[str, RunsBySeeds],
    looks: Looks,
    scale: Scale,
) -> Evidence | str:
    """Evidence of all seeds that count, with the p values of all looks up to there."""
    tables = [by_metric[name] for name in metrics]
    n_seeds = min(tables[0].n_seeds, looks.planned[-1])
    taken = looks.taken(n_seeds)
    by_look = [_test(claim, metrics, names, [table.first(n) for table in tables], scale) for n in taken]
    now = by_look[-1] if taken else _test(claim, metrics, names, tables, scale)
    if isinstance(now, str):
        return now
    sequential = []
    for end in range(1, len(taken) + 1):
        # a look without spread decides nothing
        p = {
            verdict: [1.0 if isinstance(look, str) else look.p[verdict] for look in by_look[:end]] for verdict in now.p
        }
        shares = looks.shares(taken[end - 1])
        sequential.append({verdict: sequential_p(values, shares) for verdict, values in p.items()})
    return Evidence(
        now.metric, now.run, now.reference, now.difference, n_seeds, now.p, sequential, now.against,
        now.difference_against,
    )  # fmt: skip


def _test(
    claim: Claim, metrics: Sequence[str], names: list[str], tables: Sequence[RunsBySeeds], scale: Scale
) -> Evidence | str:
    if claim.kind == "pareto":
        return _pareto(names[0], metrics, tables)
    if claim.kind == "above_floor":
        names = [*names, f"floor ({scale.floor_is})"]
        mean = tables[0].mean(names[0])
        d, margin = Contrast(mean.estimate - scale.floor, mean.se, mean.df), claim.margin
    else:
        d, margin = tables[0].difference(*names), claim.margin
    if not d.testable:
        return f"{metrics[0]} of {' and '.join(names)}: {_no_spread(tables[0])}"
    p_for, p_against = {
        "lower": lambda: (d.p_below(-margin), d.p_above(-margin)),
        "higher": lambda: (d.p_above(margin), d.p_below(margin)),
        "above_floor": lambda: (d.p_above(margin), d.p_below(margin)),
        "not_lower": lambda: (d.p_above(-margin), d.p_below(-margin)),
        "not_higher": lambda: (d.p_below(margin), d.p_above(margin)),
        "equivalent": lambda: (d.p_within(margin), d.p_outside(margin)),
    }[claim.kind]()
    p = {"supported": p_for, "refuted": p_against}
    p |= {"equivalent": d.p_within(claim.equivalence)} if claim.equivalence else {}
    return Evidence(metrics[0], *names, d, tables[0].n_seeds, p)


def _pareto(run: str, metrics: Sequence[str], tables: Sequence[RunsBySeeds]) -> Evidence | str:
    """Test whether no rival is better in both metrics.

    For the claim: better than each rival in one metric (intersection-union test, Bonferroni over the two metrics).
    Against it: some rival is better in both (Bonferroni over the rivals).
    """
    bias, quality = tables
    rivals = [name for name in bias.runs if name != run and name in quality.runs]
    if not rivals:
        return f"{run} is the only run"
    contrasts = {name: (bias.difference(run, name), quality.difference(run, name)) for name in rivals}
    if not all(d.testable for pair in contrasts.values() for d in pair):
        return f"{run}: {_no_spread(bias)}"
    better = {name: min(1.0, 2 * min(low.p_below(0), high.p_above(0))) for name, (low, high) in contrasts.items()}
    worse = {name: max(low.p_above(0), high.p_below(0)) for name, (low, high) in contrasts.items()}
    hardest, best = max(better, key=better.get), min(worse, key=worse.get)
    p = {"supported": better[hardest], "refuted": min(1.0, len(rivals) * worse[best])}
    rival = hardest if p["supported"] < p["refuted"] else best
    return Evidence(
        metrics[0], run, rival, contrasts[rival][0], bias.n_seeds, p, (), metrics[1], contrasts[rival][1]
    )  # fmt: skip


def _no_spread(table: RunsBySeeds) -> str:
    return "a single seed gives no test" if table.n_seeds == 1 else "no variation over seeds"
