"""First lines of a study's report: what balancing did to bias and what it cost, in a sentence and a small table.

Verdicts are those of claims.json where the study tests the comparison as a claim, else they follow from the interval of
the difference. There is none with fewer seeds than a claim needs.
"""

import math
from dataclasses import dataclass

from evenclip.report import words
from evenclip.report.words import Term
from evenclip.results import Estimate, RunResult, StudyResults
from evenclip.summarize.inference import OWN_VARIANCE

VERDICTS = {("lower", "supported"): "lowered", ("lower", "refuted"): "raised", ("lower", "equivalent"): "equivalent",
            ("lower", "undecided"): "undecided"}  # fmt: skip
QUALITY = ("zeroshot/*/acc1", "retrieval/*/image_to_text_recall_at_5")
BIAS = ("bias/*/ab_max", "bias/*/rb")
MOST_OF_A_KIND = 2


@dataclass(frozen=True)
class Column:
    """A metric of the small table: its name in words, where it is better, and its chance level if that is above 0."""

    name: Term
    better: str
    chance: float | None


@dataclass(frozen=True)
class Cell:
    """A run's mean, its difference from the baseline and the interval of that; ``clear`` if this leaves out 0."""

    value: str
    difference: str
    interval: str
    clear: bool


@dataclass(frozen=True)
class Headline:
    """Sentence, warnings and table at the top of the report; ``rows`` has (run, cells), the baseline first."""

    sentence: str
    warnings: list[str]
    columns: list[Column]
    rows: list[tuple[str, list[Cell]]]


def headline(study: StudyResults) -> Headline:
    """Sentence and table of a study."""
    columns = [_column(study, metric) for metric in _metrics(study)]
    rows = [
        (study.run_title(run.name), [_cell(study, run, column.name.path) for column in columns]) for run in study.runs
    ]
    return Headline(sentence(study), warnings(study), columns, rows)


def sentence(study: StudyResults, run: RunResult | None = None) -> str:
    """What a run did to bias, and what it cost; without ``run``, of the study's main comparison."""
    bias = headline_bias(study)
    if bias is None:
        return f"No bias was measured: no evaluation set of this study measures the bias of people.{_quality(study)}"
    run = run or main_run(study)
    if run is None:
        estimate = study.estimate(study.runs[0].name, bias)
        chance = study.chance(bias)
        beside = f" (a model that ignores the groups has {chance:.3f})" if chance is not None else ""
        value = f"{_capital(words.metric(study, bias))} is {words.interval(estimate)}{beside}"
        return f"{value}. There is no other run to compare with."
    return f"{_bias_clause(study, run, bias)}; {_cost_clause(study, run, bias)}."


def warnings(study: StudyResults) -> list[str]:
    """Runs whose association bias fell because they know the labels less."""
    marked = [study.run_title(run.name) for run in study.runs if run.mark]
    if not marked:
        return []
    names = " and ".join([", ".join(marked[:-1]), marked[-1]] if len(marked) > 1 else marked)
    they = "these models name" if len(marked) > 1 else "this model names"
    return [
        f"{names}: bias lowered by not knowing the labels. {_capital(they)} labels less well than the baseline, and a "
        "model that cannot tell labels apart has no association bias. This is not shown to be a gain in fairness."
    ]


def headline_bias(study: StudyResults) -> str | None:
    """Bias metric of the sentence: association bias, else representation bias, where the baseline has most of it."""
    for pattern in BIAS:
        metrics = [metric for metric in study.measured(pattern) if study.estimate(study.runs[0].name, metric)]
        if metrics:
            return max(metrics, key=lambda m: study.estimate(study.runs[0].name, m).mean - (study.chance(m) or 0))
    return None


def label_accuracy(study: StudyResults, bias: str | None) -> str | None:
    """Zero-shot accuracy of labels of people, on the set of the bias metric if it is measured there."""
    metrics = [metric for metric in study.measured("zeroshot/*/acc1") if metric in study.people]
    same = [metric for metric in metrics if bias and metric.split("/")[1] == bias.split("/")[1]]
    return next(iter(same or metrics), None)


def quality_metrics(study: StudyResults) -> list[str]:
    """Measures of quality that are not about people, the first of each kind."""
    kinds = ([metric for metric in study.measured(pattern) if metric not in study.people] for pattern in QUALITY)
    return [metrics[0] for metrics in kinds if metrics]


def main_run(study: StudyResults) -> RunResult | None:
    """Run of the sentence: the first with M4, else the first balanced otherwise than the baseline, else the second."""
    first, *others = study.runs
    balanced = [run for run in others if run.strategy != first.strategy]
    with_m4 = [run for run in balanced if study.balance_manifest(run.strategy)["options"].get("strategy") == "m4"]
    return next(iter(with_m4 or balanced or others), None)


def _metrics(study: StudyResults) -> list[str]:
    """Metrics of the table: bias, what is known of labels, quality."""
    bias = headline_bias(study)
    association = sorted(study.measured(BIAS[0]), key=lambda metric: metric != bias)[:MOST_OF_A_KIND]
    representation = study.measured(BIAS[1])[:1]
    accuracy = label_accuracy(study, bias)
    return [*association, *representation, *([accuracy] if accuracy else []), *quality_metrics(study)]


def _column(study: StudyResults, metric: str) -> Column:
    better = "lower" if metric.startswith("bias/") else "higher"
    return Column(words.metric(study, metric), better, study.chance(metric) or None)


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


def _cost_clause(study: StudyResults, run: RunResult, bias: str) -> str:
    metric = label_accuracy(study, bias)
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
    if run is None or not metrics:
        return ""
    return f" {_capital(_cost(study, run, metrics[0]))} with {study.run_title(run.name)}."


def _leaves_out_0(difference: Estimate) -> bool:
    return difference.ci_low > 0 or difference.ci_high < 0


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
