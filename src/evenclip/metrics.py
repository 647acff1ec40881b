"""Catalogue of all metric definitions: the meaning of each number, and what was not measured."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from evenclip.evaluate.measurement import Definition
from evenclip.evaluate.options import KINDS
from evenclip.evaluate.run import PROMPT_SENSITIVITY
from evenclip.links import options as links
from evenclip.vqa import options as vqa


def definitions() -> dict[str, tuple[Definition, ...]]:
    """Metric definitions by kind of task; also those of prompt sensitivity and of stages with their own metrics."""
    return {kind: task.metrics for kind, task in KINDS.items()} | {
        "prompt_sensitivity": PROMPT_SENSITIVITY,
        "vqa": vqa.DEFINITIONS,
        "link_prediction": links.DEFINITIONS,
    }


@dataclass(frozen=True)
class KnownMetric:
    """A metric without its set, e.g. `bias/ab_max`, with its meaning and the ends of its range if both are numbers."""

    kind: str
    name: str
    meaning: str
    low: float | None
    high: float | None


class KnownMetrics:
    """Catalogue of metrics; see `known_metrics`."""

    def __init__(self, metrics: list[KnownMetric]):
        self.metrics = metrics
        # the most specific pattern first: `harm_{kind}_gap` before `harm_{kind}`
        by_letters = sorted(metrics, key=lambda metric: -len(re.sub(r"\{[^}]*\}", "", metric.name)))
        self._patterns = [(re.compile(_pattern(metric.name)), metric) for metric in by_letters]

    def of(self, metric: str) -> KnownMetric | None:
        """Definition of the metric `<family>/<set>/<measure>`; None if it is unknown."""
        family, _, measure = (*metric.split("/", 2), "", "")[:3]
        return next((entry for pattern, entry in self._patterns if pattern.fullmatch(f"{family}/{measure}")), None)


@cache
def known_metrics() -> KnownMetrics:
    """All metrics of `definitions`."""
    return KnownMetrics(
        [
            KnownMetric(_kind(kind, definition), definition.name, definition.meaning, *_range(definition.interval))
            for kind, kind_definitions in definitions().items()
            for definition in kind_definitions
        ]
    )


def _kind(kind: str, definition: Definition) -> str:
    """Kind of measurement; few-shot probes count as a kind of their own."""
    return "few_shot" if definition.name.startswith("few_shot/") else kind


def not_measured(metrics: Iterable[str]) -> list[KnownMetric]:
    """The first metric of each kind of measurement that none of ``metrics`` belongs to."""
    measured = {entry.kind for metric in metrics if (entry := known_metrics().of(metric))}
    first: dict[str, KnownMetric] = {}
    for entry in known_metrics().metrics:
        first.setdefault(entry.kind, entry)
    return [entry for kind, entry in first.items() if kind not in measured]


def _pattern(name: str) -> str:
    """Regular expression for a definition's name: `{k}` is a number, any other placeholder has no slash."""
    parts = re.split(r"(\{[^}]*\})", name.replace("{bias metric}", "bias/{metric}"))
    placeholders = {part: r"\d+" if part == "{k}" else "[^/]+?" for part in parts[1::2]}
    return "".join(placeholders.get(part, re.escape(part)) for part in parts)


def _range(interval: str) -> tuple[float, float] | tuple[None, None]:
    ends = re.fullmatch(r"\[(-?\d+), (\d+)\]", interval)
    return (float(ends[1]), float(ends[2])) if ends else (None, None)
