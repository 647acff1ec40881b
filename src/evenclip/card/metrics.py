"""All that the package can measure, so that a card can say what it did not."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from evenclip.evaluate import prompt_sensitivity as sensitivity
from evenclip.evaluate.measurement import Definition
from evenclip.evaluate.options import KINDS
from evenclip.links import options as links
from evenclip.vqa import options as vqa


@dataclass(frozen=True)
class Known:
    """A metric without its set, e.g. `bias/ab_max`, in words, with the ends of its range where it has two."""

    kind: str
    name: str
    meaning: str
    low: float | None
    high: float | None


class KnownMetrics:
    """The definitions of all measurements; see `known_metrics`."""

    def __init__(self, every: list[Known]):
        self.every = every
        self._patterns = [(re.compile(_pattern(known.name)), known) for known in every]

    def of(self, metric: str) -> Known | None:
        """What `<family>/<set>/<measure>` is; None where no measurement says so."""
        family, _, measure = metric.split("/", 2)
        return next((known for pattern, known in self._patterns if pattern.fullmatch(f"{family}/{measure}")), None)


@cache
def known_metrics() -> KnownMetrics:
    """The metrics of all kinds of task, of question answering and of links, as they define themselves."""
    found = [(kind, each) for kind, task in KINDS.items() for each in task.metrics]
    found += [("prompt_sensitivity", each) for each in sensitivity.DEFINITIONS]
    found += [("vqa", vqa.DEFINITION), *(("link_prediction", each) for each in links.DEFINITIONS)]
    return KnownMetrics(
        [Known(_kind(kind, each), each.name, each.meaning, *_range(each.interval)) for kind, each in found]
    )


def _kind(task: str, each: Definition) -> str:
    """The kind of measurement: a probe on few images is another than one on all, though one task makes both."""
    return "few_shot" if each.name.startswith("few_shot/") else task


def not_measured(metrics: Iterable[str]) -> list[Known]:
    """One metric for each kind of measurement of which there is no number."""
    measured = {known.kind for metric in metrics if (known := known_metrics().of(metric))}
    first: dict[str, Known] = {}
    for known in known_metrics().every:
        first.setdefault(known.kind, known)
    return [known for kind, known in first.items() if kind not in measured]


def _pattern(name: str) -> str:
    name = name.replace("{bias metric}", "bias/{metric}")
    return "".join(re.escape(part) if i % 2 == 0 else r"[^/]+?" for i, part in enumerate(re.split(r"\{[^}]*\}", name)))


def _range(interval: str) -> tuple[float, float] | tuple[None, None]:
    found = re.fullmatch(r"\[(-?\d+), (\d+)\]", interval)
    return (float(found[1]), float(found[2])) if found else (None, None)
