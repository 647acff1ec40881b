"""First lines of a study's report: what balancing did to bias and what it cost, in a sentence and a small table.

Verdicts are those of claims.json where the study tests the comparison as a claim, else they follow from the interval of
the difference. There is none with fewer seeds than a claim needs.
"""

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evenclip.report import key_metrics, words
from evenclip.report.key_metrics import BIAS, better, largest_bias
from evenclip.report.words import Term
from evenclip.results import Estimate, RunResult, StudyResults
from evenclip.summarize.options import OWN_VARIANCE

VERDICTS = {("lower", "supported"): "lowered", ("lower", "refuted"): "raised", ("lower", "equivalent"): "equivalent",
            ("lower", "undecided"): "undecided"}  # fmt: skip

DATA_AB = "data/ab_max"
"""Association bias of the training pairs under a strategy's weights."""


@dataclass(frozen=True)
class Column:
    """A metric of the small table: name, where it is better, and what guessing (if above 0) and unbiased data give."""

    name: Term
    better: str
    chance: float | None
    floor: float | None


@dataclass(frozen=True)
class Cell:
    """A run's mean, its difference from the baseline and the interval of that; ``clear`` if this leaves out 0."""

    value: str
    difference: str
    interval: str
    clear: bool


@dataclass(frozen=True)
class Headline:
    """First lines of the report: sentence, those of ``further`` M4 runs, warnings, table of (run, cells)."""

    sentence: str
    further: list[str]
    warnings: list[str]
    columns: list[Column]
    rows: list[tuple[str, list[Cell]]]


def headline(study: StudyResults) -> Headline:
    """Sentence and table of a study."""
    metrics = key_metrics.key_metrics(study.measured("*"), study.people, headline_bias(study))
    columns = [_column(study, metric) for metric in metrics]
    rows = [
        (study.run_title(run.name), [_cell(study, run, column.name.path) for column in columns]) for run in study.runs
    ]
    main = main_run(study)
    further = [sentence(study, run) for run in _runs_with_m4(study) if run != main] if headline_bias(study) else []
    return Headline(sentence(study), further, warnings(study), columns, rows)


def sentence(study: StudyResults, run: RunResult | None = None) -> str:
    """What a run did to bias, and what it cost; without ``run``, of the study's main comparison."""
    bias = headline_bias(study)
    if bias is None:
        why = "no evaluation set of this study measures the bias of people, or too few images show each group"
        return f"No bias of the models was measured: {why}.{_data_bias(study)}{_quality(study)}"
    run = run or main_run(study)
    if run is None:
        estimate = study.estimate(study.runs[0].name, bias)
        chance = study.chance(bias)
        beside = f" (a model that ignores the groups has {chance:.3f})" if chance is not None else ""
        value = f"{_capital(words.metric(study, bias))} is {words.interval(estimate)}{beside}"
        return f"{value}. There is no other run to compare with."
    return f"{_bias_clause(study, run, bias)}; {_cost_clause(study, run)}."


def _data_bias(study: StudyResults) -> str:
    """What balancing did to the association bias of the training pairs, as a sentence."""
    first, run = study.runs[0], main_run(study)
    before = study.estimate(first.name, DATA_AB)
    after = study.estimate(run.name, DATA_AB) if run and run.strategy != first.strategy else None
    if before is None or after is None:
        return ""
    return (
        f" Among the training pairs, association bias went from {before.mean:.3f} to {after.mean:.3f} with {run.name}."
    )


def warnings(study: StudyResults, runs: Sequence[RunResult] | None = None) -> list[str]:
    """Runs (of ``runs``, or of all) whose association bias fell because they know the labels less."""
    marked = [study.run_title(run.name) for run in (study.runs if runs is None else runs) if run.mark]
    if not marked:
        return []
    names = " and ".join([", ".join(marked[:-1]), marked[-1]] if len(marked) > 1 else marked)
    they = "these models name" if len(marked) > 1 else "this model names"
    return [
        f"{names}: bias lowered by not knowing the labels. {_capital(they)} labels less well than the baseline, and a "
        "model that cannot tell labels apart has no association bias. This is not shown to be a gain in fairness."
    ]


def headline_bias(study: StudyResults) -> str | None:
    """Bias metric of the sentence: that of the main claim, else the association or representation bias.

    Of several sets it is the one where the baseline has most of it.
    """
    if (claim := _main_claim(study)) and claim["metric"].startswith("bias/"):
        return claim["metric"]
    first = study.runs[0].name
    estimates = {metric: study.estimate(first, metric) for metric in study.measured("*")}
    return largest_bias({m: e.mean - (study.chance(m) or 0) for m, e in estimates.items() if e})


def label_accuracy(study: StudyResults) -> str | None:
    """Metric of the label accuracy that the sentence gives beside bias; None if it was not measured."""
    return key_metrics.label_accuracy(study.measured("*"), study.people, headline_bias(study))


def quality_metrics(study: StudyResults) -> list[str]:
    """Measures of quality that are not about people, the first of each kind."""
    return key_metrics.quality_metrics(study.measured("*"), study.people)


def main_run(study: StudyResults) -> RunResult | None:
    """Run of the sentence: that of the main claim, else the first with M4, with other data, or other than the first."""
    first, *others = study.runs
    if claim := _main_claim(study):
        return next(run for run in others if run.name == claim["runs"]["run"])
    balanced = [run for run in others if run.strategy != first.strategy]
    return next(iter(_runs_with_m4(study) or balanced or others), None)


def _main_claim(study: StudyResults) -> dict[str, Any] | None:
    """First primary claim that was tested against the baseline: of association bias, else of bias, else any."""
    first, *others = study.runs
    names = {run.name for run in others}
    tested = [
        entry
        for entry in study.claims
        if entry.get("primary") and entry.get("runs") and entry["runs"]["reference"] == first.name
        and entry["runs"]["run"] in names and not entry.get("against")
    ]  # fmt: skip
    for pattern in (*BIAS, "bias/*", "*"):
        if fitting := [entry for entry in tested if fnmatch.fnmatchcase(entry["metric"], pattern)]:
            return fitting[0]
    return None


def _runs_with_m4(study: StudyResults) -> list[RunResult]:
    """The first run of every strategy that is M4, by its kind."""
    first, *others = study.runs
    kinds = {name: study.balance_manifest(name)["options"].get("strategy") for name in study.strategies}
    runs = [run for run in others if run.strategy != first.strategy and kinds[run.strategy] == "m4"]
    return list({run.strategy: run for run in reversed(runs)}.values())[::-1]


def _column(study: StudyResults, metric: str) -> Column:
    # of the worst group, the chance level is this model's score if groups were drawn at random: no guess
    chance = None if metric.endswith("/worst_group_accuracy") else study.chance(metric)
    return Column(words.metric(study, metric), better(metric), chance or None, study.floor(metric))


def _cell(study: StudyResults, run: RunResult, metric: str) -> Cell:
    estimate, difference = study.estimate(run.name, metric), study.difference(run.name, metric)
    if estimate is None:
        return Cell("not measured", "", "", False)
    if difference is None:
        return Cell(f"{estimate.mean:.3f}", "", "", False)
    ends = f"[{words.signed(difference.ci_low)}, {words.signed(difference.ci_high)}]"
    ends = ends if math.isfinite(difference.ci_low) else ""
    return Cell(f"{estimate.mean:.3f}", words.signed(difference.mean), ends, _leaves_out_0(difference))


def _bias_clause(study: StudyResults, run: RunResult, bias: str) -> str:
    first, last, difference = _compared(study, run, bias)
    name, what = words.metric(study, bias), _subject(study, run)
    if difference is None or first is None or last is None:
        return f"{what} cannot be compared with the baseline: {name} was not measured for both"
    change = f"from {first.mean:.3f} to {last.mean:.3f}"
    verdict, reason = _verdict(study, run, bias, difference)
    if verdict in ("lowered", "raised"):
        return f"{what} {verdict} {name} {change}, by {_size(difference, signed=False)}"
    if verdict == "equivalent":
        return f"{what} changed {name} by too little to matter: {change}, {_size(difference)}"
    whether = f"whether {what[0].lower()}{what[1:]} changes {name}"
    if verdict == "undecided":
        return f"It is undecided {whether}: it went {change}, {_size(difference)}{reason}"
    return f"It cannot be tested {whether}, because the baseline is {reason}: it went {change}, {_size(difference)}"


def _verdict(study: StudyResults, run: RunResult, bias: str, difference: Estimate) -> tuple[str, str]:
    """Verdict on the difference, and a reason in words for having none."""
    first, n_seeds = study.runs[0].name, min(len(run.seeds), len(study.runs[0].seeds))
    if n_seeds < OWN_VARIANCE:
        few = "one seed is too few" if n_seeds == 1 else f"{n_seeds} seeds are too few"
        return "undecided", f", and {few} for a verdict (at least {OWN_VARIANCE})"
    for entry in study.claims:
        of_runs = entry.get("runs") == {"run": run.name, "reference": first}
        if of_runs and entry["metric"] == bias and (entry["kind"], entry["verdict"]) in VERDICTS:
            verdict = VERDICTS[entry["kind"], entry["verdict"]]
            adjusted = verdict == "undecided" and _leaves_out_0(difference)
            return verdict, ", which is not clear enough when all claims are counted" if adjusted else ""
        reason = entry.get("reason") or ""
        if entry["kind"] == "lower" and reason.startswith(f"{bias} of {first}: not testable here: "):
            return "not testable", reason.partition("not testable here: ")[2].partition(" (")[0]
    if not _leaves_out_0(difference):
        return "undecided", ""
    return ("lowered" if difference.mean < 0 else "raised"), ""


def _cost_clause(study: StudyResults, run: RunResult) -> str:
    metric = label_accuracy(study)
    quality = [metric] if metric else quality_metrics(study)[:1]
    missing = "" if metric else "label accuracy of people was not measured"
    clauses = [_cost(study, run, name) for name in quality]
    return "; ".join(text for text in (missing, *clauses) if text)


def _cost(study: StudyResults, run: RunResult, metric: str) -> str:
    first, last, difference = _compared(study, run, metric)
    name = words.metric(study, metric)
    if difference is None:
        return f"{name} was not measured for both"
    change = f"from {first.mean:.3f} to {last.mean:.3f}"
    if _leaves_out_0(difference) and len(run.seeds) >= OWN_VARIANCE:
        verb = "fell" if difference.mean < 0 else "rose"
        return f"{name} {verb} {change}, by {_size(difference, signed=False)}"
    return f"{name} went {change}, {_size(difference)}"


def _compared(study: StudyResults, run: RunResult, metric: str) -> tuple[Estimate | None, ...]:
    first, last = (study.estimate(name, metric) for name in (study.runs[0].name, run.name))
    return first, last, study.difference(run.name, metric)


def _size(difference: Estimate, signed: bool = True) -> str:
    """A difference with its interval in words; unsigned where the verb tells the direction."""
    turn = -1 if not signed and difference.mean < 0 else 1
    low, high = sorted((turn * difference.ci_low, turn * difference.ci_high))
    text = words.signed(difference.mean) if signed else f"{turn * difference.mean:.3f}"
    if not math.isfinite(low):
        return f"{'a difference of ' * signed}{text} (no interval)"
    ends = (words.signed(low), words.signed(high)) if signed or low < 0 else (f"{low:.3f}", f"{high:.3f}")
    return f"{'a difference of ' * signed}{text} (95 % interval {ends[0]} to {ends[1]})"


def _subject(study: StudyResults, run: RunResult) -> str:
    if run.strategy != study.runs[0].strategy:
        return f"Balancing with {run.strategy}"
    return f"Training as in {run.name}"


def _quality(study: StudyResults) -> str:
    run, metrics = main_run(study), quality_metrics(study)
    if claim := _main_claim(study):
        return f" {_capital(_cost(study, run, claim['metric']))} with {run.name} ({claim['name']}: {claim['verdict']})."
    if run is None or not metrics:
        return ""
    return f" {_capital(_cost(study, run, metrics[0]))} with {study.run_title(run.name)}."


def _leaves_out_0(difference: Estimate) -> bool:
    return difference.ci_low > 0 or difference.ci_high < 0


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
