"""Content of a bias card, from a study's results or from the files of `evenclip evaluate`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evenclip.balance.kept import part_name
from evenclip.bias import UNDEFINED
from evenclip.digests import fingerprint
from evenclip.documents import Evaluation
from evenclip.errors import InputError
from evenclip.evaluate.evaluated_model import one_model
from evenclip.evaluate.options import Task
from evenclip.metrics import KnownMetric, known_metrics, not_measured
from evenclip.options import Options
from evenclip.report import headline, key_metrics
from evenclip.report.words import metric_name, signed_interval
from evenclip.results import RunResult, StudyResults
from evenclip.stage_outputs import read_document
from evenclip.train.options import TrainOptions

OVER_EXAMPLES = "over the examples (Wilson's for shares, bootstrap for others)"
MOST_KEPT = 12  # parts of the data on a card, the least kept first
WORDING = ("_prompt_mean", "_prompt_range")  # shown in the row of the metric itself


class TaskBlock(Options):
    """A task as recorded in a manifest."""

    task: Task


@dataclass(frozen=True)
class Measured:
    """One metric over all examples of a set; None = no value.

    ``name`` is the metric in words; ``reference`` is the value of the study's first run, ``difference`` that from it
    with its interval; ``prompt_mean`` and ``prompt_range`` are the metric's mean and
    range over its single prompt templates.
    """

    metric: str
    name: str
    value: float
    ci_low: float | None
    ci_high: float | None
    random: float | None
    n: int
    people: bool
    meaning: str
    low: float | None
    high: float | None
    reference: float | None = None
    difference: str = ""
    prompt_mean: float | None = None
    prompt_range: float | None = None

    @property
    def numbers(self) -> tuple[float | None, ...]:
        """Measured values of the model."""
        return self.value, self.ci_low, self.ci_high, self.prompt_mean, self.prompt_range


@dataclass(frozen=True)
class Kept:
    """What balancing left of a group or of a label: its shares of the examples as they came and as shown."""

    name: str
    rows: int
    before: float
    realised: float
    kept: float
    effective_rows: float


@dataclass(frozen=True)
class Card:
    """Content of a bias card.

    ``sentence`` is the result in words, ``warning`` its mark. ``kept`` has the groups and labels of the training data,
    the least kept first; ``warnings`` are those of balancing.
    """

    name: str
    sentence: str
    kind: str
    interval: str
    measured: list[Measured]
    insufficient: list[str]
    missing: list[KnownMetric]
    data: list[dict[str, str]]
    facts: dict[str, str]
    reference: str = ""
    warning: str = ""
    kept: list[Kept] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    identity: list[Any] = field(default_factory=list)

    @property
    def key(self) -> list[Measured]:
        """Rows of the small table, the most important first."""
        rows = {row.metric: row for row in self.measured}
        people = [metric for metric, row in rows.items() if row.people]
        return [rows[metric] for metric in key_metrics.key_metrics(rows, people, _largest_bias(self.measured))]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the trainings and the numbers, without dates, paths and commits."""
        return fingerprint([self.identity, [[row.metric, *row.numbers] for row in self.measured]])


def card_of_run(study: StudyResults, run: RunResult) -> Card:
    """Card of a run, with means over its seeds."""
    rows = study.summary[
        (study.summary["run"] == run.name) & ~study.summary["metric"].str.startswith(("data/", "train/"))
    ]
    first = study.runs[0].name
    overall = rows[(rows["group"] == "") & rows["mean"].notna()]
    values = dict(zip(overall["metric"], overall["mean"], strict=True))
    measured, insufficient = [], []
    for row in rows.to_dict("records"):
        if row["metric"].endswith(WORDING) or (row["group"] and math.isfinite(row["mean"])):
            continue  # one page: groups and labels one by one are in summary.csv
        if not math.isfinite(row["mean"]):
            insufficient.append(_too_small(row["metric"], row["group"], row["n"]))
            continue
        estimate = study.estimate(first, row["metric"]) if run.name != first else None
        difference = study.difference(run.name, row["metric"])
        numbers = {"value": row["mean"], "random": _or_nan(study.chance(row["metric"]))}
        shown = _measured(row | numbers, values, estimate.mean if estimate else None)
        measured.append(replace(shown, difference=signed_interval(difference)) if difference else shown)
    trainings = {seed: study.training(run.name, seed) for seed in run.seeds}
    documents = study.evaluations(run.name, run.seeds[0])
    kinds = set(rows["interval"]) - {""}
    by_seeds = f"over {len(run.seeds)} training seeds (Student's t" + (
        ", the variance moderated by those of the study's other runs)" if "moderated" in kinds else ")"
    )
    return Card(
        name=f"{study.name}: {study.run_title(run.name)}",
        sentence=sentence_of(measured) if run.name == first else headline.sentence(study, run),
        warning="; ".join(headline.warnings(study, [run])),
        kind=f"{len(run.seeds)} trainings of study {study.name}, strategy {run.strategy}",
        interval=OVER_EXAMPLES if kinds == {"bootstrap"} else by_seeds,
        measured=measured,
        insufficient=insufficient,
        missing=not_measured(values),
        data=[_data(name, document["manifest"]) for name, document in documents.items()],
        facts=_training_facts(trainings) | _balance_facts(study.strategies[run.strategy]),
        reference=study.run_title(first) if run.name != first else "",
        kept=_kept(study.strategies[run.strategy]),
        warnings=study.strategies[run.strategy]["warnings"],
        identity=[trainings[seed]["fingerprint"] for seed in run.seeds],
    )


def card_of_evaluations(paths: list[Path]) -> Card:
    """Card of one model, from its files of `evenclip evaluate`."""
    if not paths:
        raise InputError("no evaluation", "evenclip card", "name the files of `evenclip evaluate`, or give --results")
    documents = {path: read_document(path, Evaluation) for path in paths}
    model = one_model({path: document["manifest"] for path, document in documents.items()})
    rows = [row for document in documents.values() for row in document["metrics"]]
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (cell := (row["metric"], row["group"])) in seen:
            raise InputError(
                f"{row['metric']} is in two of the files", ", ".join(map(str, paths)), "name each set once"
            )
        seen.add(cell)
    values = {row["metric"]: row["value"] for row in rows if not row["group"] and row["value"] is not None}
    measured = [
        _measured(row, values)
        for row in rows
        if not row["group"] and row["metric"] in values and not row["metric"].endswith(WORDING)
    ]
    manifest = documents[paths[0]]["manifest"]
    facts = model.facts | {"bootstrap resamples": str(manifest["options"]["resamples"])} | _made(manifest)
    return Card(
        name=model.title,
        sentence=sentence_of(measured),
        kind="one model",
        interval=OVER_EXAMPLES,
        measured=measured,
        insufficient=[_too_small(row["metric"], row["group"], row["n"]) for row in rows if row["value"] is None],
        missing=not_measured(values),
        data=[_data(document["manifest"]["options"]["name"], document["manifest"]) for document in documents.values()],
        facts=facts,
        identity=[document["manifest"]["fingerprint"] for document in documents.values()],
    )


def _measured(row: dict[str, Any], values: dict[str, float], reference: float | None = None) -> Measured:
    """A row of the card; ``values``: all metrics by name, including prompt sensitivity."""
    definition = known_metrics().of(row["metric"])
    people = bool(row["people"])
    numbers = {name: _finite(row[name]) for name in ("value", "ci_low", "ci_high", "random")}
    return Measured(
        metric=row["metric"],
        name=str(metric_name(row["metric"], people)),
        n=int(row["n"]),
        people=people,
        meaning=definition.meaning.partition(";")[0] if definition else "",
        low=definition.low if definition else None,
        high=definition.high if definition else None,
        reference=reference,
        prompt_mean=values.get(row["metric"] + WORDING[0]),
        prompt_range=values.get(row["metric"] + WORDING[1]),
        **numbers,
    )


def sentence_of(measured: list[Measured]) -> str:
    """What was measured of one model, in words: bias beside what is known of labels."""
    rows = {row.metric: row for row in measured}
    people = [metric for metric, row in rows.items() if row.people]
    bias = _largest_bias(measured)
    accuracy = key_metrics.label_accuracy(rows, people, bias)
    if bias is None:
        quality = [rows[metric] for metric in key_metrics.quality_metrics(rows, people)[:1]]
        others = "".join(f" {capital(row.name)} is {in_words(row)}." for row in quality)
        return f"No bias was measured: none of these sets measures the bias of people.{others}"
    known = f"{rows[accuracy].name} is {in_words(rows[accuracy])}" if accuracy else "label accuracy was not measured"
    return f"{capital(rows[bias].name)} is {in_words(rows[bias])}; {known}."


def _largest_bias(measured: list[Measured]) -> str | None:
    return key_metrics.largest_bias({row.metric: row.value - (row.random or 0) for row in measured})


def in_words(row: Measured) -> str:
    """Value, interval and chance level of a metric in a sentence."""
    ends = f"95 % interval {row.ci_low:.3f} to {row.ci_high:.3f}" if row.ci_low is not None else "no interval"
    chance = f", chance {row.random:.3f}" if row.random else ""
    return f"{row.value:.3f} ({ends}{chance})"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _too_small(metric: str, group: str, n: float) -> str:
    group_text = f" of {group.removesuffix(' (insufficient)')}" if group else ""
    return f"{metric}{group_text} (n = {int(n)})"


def _data(name: str, manifest: dict[str, Any]) -> dict[str, str]:
    source, tasks = manifest["inputs"]["dataset"], manifest["options"].get("tasks", [])
    read_columns = {column for task in tasks for column in TaskBlock.parse({"task": task}, name).task.root.columns}
    columns = sorted(read_columns - {"sha256"})  # identifies copies of a file; not a truth column
    prompts = sorted({task["prompts"] for task in tasks if task.get("prompts")})
    kind = "images"
    if manifest["stage"] == "vqa":
        kind, columns = "questions", ["answers of annotators"]
    if manifest["stage"] == "links":
        kind, columns = "questions", ["held-out triples of the graph"]
    return {
        "set": name, "data": "/".join(Path(source["path"]).parts[-2:]), "digest": source["sha256"][:16],
        "examples": f"{manifest['n']} {kind}", "truth": ", ".join(columns), "prompts": ", ".join(prompts),
    }  # fmt: skip


def _training_facts(trainings: dict[int, dict[str, Any]]) -> dict[str, str]:
    first = next(iter(trainings.values()))
    options = first["options"]
    classes = TrainOptions.method_classes()
    methods = ", ".join(classes[name].title for name in classes if options.get(name) is not None) or "none"
    data = first["inputs"]["data"]
    name = "/".join(Path(data["path"]).parts[-2:])
    samples = f"{first['samples_seen']:,} in batches of {options['batch_size']}, learning rate {options['lr']:g}"
    return {
        "architecture": Path(options["model"]).stem,
        "started from": options["init"],
        "objective": options["objective"],
        "methods": methods,
        "training data": f"{name} ({data['sha256'][:16]}), {first['n_pairs']:,} pairs",
        "pairs shown": samples,
        "seeds": ", ".join(map(str, trainings)),
        "device": ", ".join(sorted({f"{made['device']} ({made['dtype']})" for made in trainings.values()})),
    } | _made(first)


def _balance_facts(report: dict[str, Any]) -> dict[str, str]:
    biases = (("representation bias", "rb"), ("association bias", "ab"))
    values = {name: (report[f"{key}_before"], report[f"realised_{key}"]) for name, key in biases}
    return {
        f"{name} of the data": f"{_bias(before)} before balancing, {_bias(realised)} as shown in training"
        for name, (before, realised) in values.items()
    }


def _kept(report: dict[str, Any]) -> list[Kept]:
    """Groups and labels, the least kept first; none where every part keeps its share, as without balancing."""
    parts = [part for part in report["kept"] if not (part["group"] and part["label"])]
    if all(math.isclose(part["kept"], 1) for part in parts):
        return []
    columns = ("rows", "before", "realised", "kept", "effective_rows")
    return [Kept(part_name(part), **{name: part[name] for name in columns}) for part in parts[:MOST_KEPT]]


def _bias(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"


def _made(manifest: dict[str, Any]) -> dict[str, str]:
    git = manifest["git"]
    packages = [name for name in ("evenclip", "torch", "open_clip_torch") if name in manifest["packages"]]
    return {
        "date": manifest["ended"][:10],
        "commit": (git["commit"] or "no git")[:10] + (" with uncommitted changes" if git["dirty"] else ""),
        "packages": ", ".join(f"{name} {manifest['packages'][name]}" for name in packages),
    }


def about_people(rows: Iterable[Measured], people: bool) -> list[Measured]:
    """Metrics that are (or are not) about people; the two are reported separately."""
    return [row for row in rows if row.people == people]
