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


TITLES = {
    "bias/ab_max": "association bias",
    "bias/ab_mean": "mean association bias",
    "bias/ab": "association",
    "bias/ab_per_skill": "association bias at equal knowledge of the labels",
    "bias/bias_at_{k}": "bias among the top {k}",
    "compositional/{probe}": "right caption, {probe}",
    "bias/worst_group_accuracy": "accuracy of the worst group",
    "bias/group_accuracy": "accuracy of a group",
    "bias/accuracy_gap": "gap in accuracy between groups",
    "bias/equalized_odds_difference": "equalized odds difference",
    "bias/demographic_parity_difference": "demographic parity difference",
    "bias/equal_opportunity_difference": "equal opportunity difference",
    "bias/harm_{kind}": "harmful category, {kind}",
    "bias/harm_{kind}_gap": "harmful category, gap between groups, {kind}",
    "linear_probe/acc1": "linear probe accuracy",
    "linear_probe/mean_per_class_recall": "linear probe accuracy, mean over classes",
    "few_shot/acc1_at_{k}": "few-shot accuracy, {k} images a class",
    "bias/pairwise_ab": "pairwise association",
    "bias/pairwise_ab_max": "pairwise association bias",
    "bias/pairwise_ab_mean": "mean pairwise association bias",
    "bias/mean_parity": "mean parity",
    "recognition/acc1": "recognition of the attribute",
    "recognition/attribute_gap": "gap in recognition between groups",
    "bias/rb": "representation bias",
    "bias/rb_hard": "representation bias of hard predictions",
    "bias/rb_signed": "representation bias with its sign",
    "retrieval/image_to_text_recall_at_{k}": "image-to-text recall at {k}",
    "retrieval/text_to_image_recall_at_{k}": "text-to-image recall at {k}",
    "bias/retrieval_entropy_at_{k}": "entropy of groups among the top {k}",
    "bias/max_skew_at_{k}": "largest skew among the top {k}",
    "bias/min_skew_at_{k}": "smallest skew among the top {k}",
    "bias/ndkl": "skew of the whole ranking",
    "zeroshot/acc1": "zero-shot accuracy",
    "zeroshot/acc5": "zero-shot accuracy in the top 5",
    "zeroshot/mean_per_class_recall": "zero-shot accuracy, mean over classes",
    "vqa/accuracy": "question answering accuracy",
    "link_prediction/{shown}_to_{asked}_{mrr or hits_at_k}": "link prediction, {measure}",
    "link_prediction/{shown}_to_{asked}_{mrr or hits_at_k}_counting": "link prediction, {measure}",
}
"""Short names of metrics, for headings, axes and tables; others are called by the first words of their meaning."""

LABEL_ACCURACY = "label accuracy"
"""Name of the zero-shot accuracy of labels of people."""

WORDINGS = {"_prompt_mean": "mean over wordings", "_prompt_range": "range over wordings"}


@dataclass(frozen=True)
class KnownMetric:
    """A metric without its set, e.g. `bias/ab_max`, with its meaning and the ends of its range if both are numbers."""

    kind: str
    name: str
    title: str
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

    def title(self, metric: str, people: bool = False) -> str:
        """A metric in words, without its set; an unknown one has the words of its name.

        >>> known_metrics().title("retrieval/flickr8k/image_to_text_recall_at_5")
        'image-to-text recall at 5'
        >>> known_metrics().title("bias/people/ab_max_prompt_range")
        'association bias, range over wordings'
        """
        for suffix, words in WORDINGS.items():
            if metric.endswith(suffix):
                return f"{self.title(metric.removesuffix(suffix), people)}, {words}"
        family, _, measure = (*metric.split("/", 2), "", "")[:3]
        if people and (family, measure) == ("zeroshot", "acc1"):
            return LABEL_ACCURACY
        for pattern, entry in self._patterns:
            if match := pattern.fullmatch(f"{family}/{measure}"):
                values = {name: value.replace("_", " ") for name, value in match.groupdict().items()}
                return entry.title.format(**values, measure=measure.replace("_", " "))
        return metric.rpartition("/")[2].replace("_", " ")


@cache
def known_metrics() -> KnownMetrics:
    """All metrics of `definitions`."""
    return KnownMetrics(
        [
            KnownMetric(
                _kind(kind, definition),
                definition.name,
                _title(definition),
                definition.meaning,
                *_range(definition.interval),
            )
            for kind, kind_definitions in definitions().items()
            for definition in kind_definitions
        ]
    )


def _title(definition: Definition) -> str:
    return TITLES.get(definition.name) or re.split("[:;]", definition.meaning)[0]


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
    groups = {part: f"?P<{part[1:-1]}>" if part[1:-1].isidentifier() else "?:" for part in parts[1::2]}
    placeholders = {part: rf"({group}\d+)" if part == "{k}" else f"({group}[^/]+?)" for part, group in groups.items()}
    return "".join(placeholders.get(part, re.escape(part)) for part in parts)


def _range(interval: str) -> tuple[float, float] | tuple[None, None]:
    ends = re.fullmatch(r"\[(-?\d+), (\d+)\]", interval)
    return (float(ends[1]), float(ends[2])) if ends else (None, None)
