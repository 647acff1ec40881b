"""What a metric is, in words and a formula: each measurement states it beside its code, docs/evaluate.md prints it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """Definition of one metric.

    ``name`` is the metric without the set, e.g. `zeroshot/acc1`, with placeholders such as `{k}`; ``interval`` the
    values it can take; ``random`` what a model that knows nothing scores; ``source`` the paper or project it is from.
    """

    name: str
    meaning: str
    formula: str
    interval: str
    random: str
    source: str
