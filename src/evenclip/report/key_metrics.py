"""The few metrics that a report, a card and a comparison show first: bias, what is known of labels, quality."""

import fnmatch
from collections.abc import Collection, Iterable, Mapping

BIAS = ("bias/*/ab_max", "bias/*/rb")
QUALITY = ("zeroshot/*/acc1", "retrieval/*/image_to_text_recall_at_5")
MOST_OF_A_KIND = 2


def matching(metrics: Iterable[str], pattern: str) -> list[str]:
    """Metrics that match e.g. `bias/*/rb`, in their order."""
    return [metric for metric in metrics if fnmatch.fnmatchcase(metric, pattern)]


def largest_bias(excess: Mapping[str, float]) -> str | None:
    """Association bias, else representation bias, of the set that has most of it.

    Parameters
    ----------
    excess : mapping of str to float
        Value of each metric above its chance level.
    """
    for pattern in BIAS:
        if metrics := matching(excess, pattern):
            return max(metrics, key=excess.get)
    return None


def label_accuracy(metrics: Iterable[str], people: Collection[str], bias: str | None) -> str | None:
    """Accuracy of labels of people, else that of the worst group, on the set of the bias metric if measured there."""
    accuracies = [metric for metric in matching(metrics, "zeroshot/*/acc1") if metric in people]
    accuracies = accuracies or matching(metrics, "bias/*/worst_group_accuracy")
    return next(iter([metric for metric in accuracies if _same_set(metric, bias)] or accuracies), None)


def quality_metrics(metrics: Collection[str], people: Collection[str]) -> list[str]:
    """Measures of quality that are not about people, the first of each kind."""
    kinds = ([metric for metric in matching(metrics, pattern) if metric not in people] for pattern in QUALITY)
    return [of_kind[0] for of_kind in kinds if of_kind]


def key_metrics(metrics: Collection[str], people: Collection[str], bias: str | None) -> list[str]:
    """Metrics of the small table: bias, what is known of labels, quality.

    Parameters
    ----------
    metrics, people : collection of str
        Metrics with a value, and those about people.
    bias : str or None
        Metric of bias that comes first.
    """
    association = sorted(matching(metrics, BIAS[0]), key=lambda metric: metric != bias)
    at_equal_knowledge = [metric for metric in matching(metrics, "bias/*/ab_per_skill") if _same_set(metric, bias)][:1]
    accuracy = label_accuracy(metrics, people, bias)
    chosen = [
        *association[: MOST_OF_A_KIND - len(at_equal_knowledge)],
        *at_equal_knowledge,
        *matching(metrics, BIAS[1])[:1],
        *([accuracy] if accuracy else []),
        *matching(metrics, "bias/*/worst_group_accuracy")[:1],
        *quality_metrics(metrics, people),
    ]
    return list(dict.fromkeys(chosen))


def better(metric: str) -> str:
    """Whether `lower` or `higher` values of a metric are better."""
    family, measure = metric.partition("/")[0], metric.rpartition("/")[2]
    return "lower" if family == "bias" and "accuracy" not in measure.replace("accuracy_gap", "gap") else "higher"


def _same_set(metric: str, other: str | None) -> bool:
    return other is not None and metric.split("/")[1] == other.split("/")[1]
