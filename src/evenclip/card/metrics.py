"""The definitions of all metrics, so that a card can say what a number means and what was not measured."""

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
    """Definitions by what measures them: the kinds of task, prompt sensitivity, and the stages with metrics of their
    own."""
    return {kind: task.metrics for kind, task in KINDS.items()} | {
        "prompt_sensitivity": PROMPT_SENSITIVITY,
        "vqa": vqa.DEFINITIONS,
        "link_prediction": links.DEFINITIONS,
    }


@dataclass(frozen=True)
class KnownMetric:
    """A metric without its set, e.g. `bias/ab_max`: its meaning, and the ends of its range where both are numbers."""

    kind: str
    name: str
    meaning: str
    low: float | None
    high: float | None


class KnownMetrics:
    """The definitions of all measurements; see `known_metrics`."""

    def __init__(self, metrics: list[KnownMetric]):
        self.metrics = metrics
        # the most specific pattern first: `harm_{kind}_gap` before `harm_{kind}`
        by_letters = sorted(metrics, key=lambda metric: -len(re.sub(r"\{[^}]*\}", "", metric.name)))
        self._patterns = [(re.compile(_pattern(metric.name)), metric) for metric in by_letters]

    def of(self, metric: str) -> KnownMetric | None:
        """The definition of `<family>/<set>/<measure>`; None if no measurement has one."""
        family, _, measure = metric.split("/", 2)
        return next((known for pattern, known in self._patterns if pattern.fullmatch(f"{family}/{measure}")), None)


@cache
def known_metrics() -> KnownMetrics:
    """All metrics of `definitions`."""
    return KnownMetrics(
        [
            KnownMetric(_kind(kind, definition), definition.name, definition.meaning, *_range(definition.interval))
            for kind, of_kind in definitions().items()
            for definition in of_kind
        ]
    )


def _kind(kind: str, definition: Definition) -> str:
    """The kind of measurement; a linear probe on few images counts apart from one on all."""
    return "few_shot" if definition.name.startswith("few_shot/") else kind


def not_measured(metrics: Iterable[str]) -> list[KnownMetric]:
    """The first metric of each kind of measurement that none of ``metrics`` belongs to."""
    measured = {known.kind for metric in metrics if (known := known_metrics().of(metric))}
    first: dict[str, KnownMetric] = {}
    for known in known_metrics().metrics:
        first.setdefault(known.kind, known)
    return [known for kind, known in first.items() if kind not in measured]


def _pattern(name: str) -> str:
    """A regular expression for a definition's name: `{k}` is a number, any other placeholder a word without slash."""
    parts = re.split(r"(\{[^}]*\})", name.replace("{bias metric}", "bias/{metric}"))
    placeholders = {part: r"\d+" if part == "{k}" else "[^/]+?" for part in parts[1::2]}
    return "".join(placeholders.get(part, re.escape(part)) for part in parts)


def _range(interval: str) -> tuple[float, float] | tuple[None, None]:
    ends = re.fullmatch(r"\[(-?\d+), (\d+)\]", interval)
    return (float(ends[1]), float(ends[2])) if ends else (None, None)
