"""Runs whose association bias fell because they no longer know the labels.

A model that cannot tell labels apart cannot associate them with a group. A run is marked where, against the baseline,
both its association bias and its accuracy of labels of people fell, each by its own test at 0.05. A mark warns; it is
no verdict, and is not adjusted for the number of runs.
"""

import fnmatch
from collections.abc import Collection, Mapping

from evenclip.summarize.inference import LEVEL, Contrast, RunsBySeeds

MARK = "lowered by not knowing the labels"
BIAS, ACCURACY = "bias/*/ab_max", "zeroshot/*/acc1"


def mark(run: str, baseline: str, by_metric: Mapping[str, RunsBySeeds], people: Collection[str]) -> str | None:
    """Mark of a run with both differences, or None.

    Parameters
    ----------
    run, baseline : str
    by_metric : mapping
        Values by metric, run and seed.
    people : collection of str
        Metrics about people.
    """
    biases, accuracies = ({}, {})
    for metric, table in by_metric.items():
        if run == baseline or not {run, baseline} <= set(table.runs):
            continue
        if fnmatch.fnmatchcase(metric, BIAS):
            biases[metric] = table.difference(run, baseline)
        elif fnmatch.fnmatchcase(metric, ACCURACY) and metric in people:
            accuracies[metric] = table.difference(run, baseline)
    fell = [{name: d for name, d in of_kind.items() if _fell(d)} for of_kind in (biases, accuracies)]
    if not all(fell):
        return None
    parts = [f"{name} {d.estimate:+.3f} [{low:+.3f}, {high:+.3f}]" for of_kind in fell for name, d in of_kind.items()
             for low, high in [d.interval()]]  # fmt: skip
    return f"association bias {MARK}: {', '.join(parts)} against {baseline}"


def _fell(difference: Contrast) -> bool:
    return difference.testable and difference.estimate < 0 and difference.p_outside(0) <= LEVEL
