"""Association bias (AB) at equal knowledge of the labels, and runs whose AB fell because they no longer know them.

A model that cannot tell labels apart cannot associate them with a group. Let f be its zero-shot distribution over R
labels, and mix it with guessing: (1 - t) f + t / R. Both its AB and its skill, (E[f_y] - 1/R) / (1 - 1/R) with E[f_y]
the mean probability of the true label, are then 1 - t times what they were. So any two models can be brought to the
same skill by mixing the one that knows more with guessing, and which of them then has the lower AB does not depend on
the skill at which they are compared: it is the one with the lower AB / skill. A temperature would not do, since it does
not change the accuracy; noise in the similarities would, but by an amount that depends on how they are distributed.

A run is marked where, against the baseline, both its AB and its accuracy of labels of people fell, each by its own test
at 0.05. A mark warns; it is no verdict, and is not adjusted for the number of runs.
"""

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evenclip.summarize.inference import LEVEL, Contrast, RunsBySeeds
from evenclip.tables import MetricRow

MARK = "lowered by not knowing the labels"
BIAS, ACCURACY = "bias/*/ab_max", "zeroshot/*/acc1"
PER_SKILL = "bias/*/ab_per_skill"
_TO_BIAS = ("ab_per_skill", "ab_max")
LEAST_SKILL = 0.05
"""Below it there is too little knowledge to divide by."""


def per_skill(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]], measured: Mapping[tuple[str, str], MetricRow]
) -> list[MetricRow]:
    """AB at equal knowledge, bias/<set>/ab_per_skill, of each association whose labels' accuracy was measured too.

    Parameters
    ----------
    tasks : mapping of str to sequence of mapping
        Options of the tasks of each evaluation set, by its name.
    measured : mapping of (str, str) to MetricRow
        All metrics of one model, by metric and group.

    Returns
    -------
    list of MetricRow
        The skill is that of the zero-shot task about people with the same prompts, of the association's own set if it
        has one. A row has no value where the skill is below `LEAST_SKILL`.
    """
    rows = []
    for name, of_set in tasks.items():
        for task in of_set:
            bias = measured.get((f"bias/{_named(name, task)}/ab_max", ""))
            if task.get("kind") != "association" or bias is None or bias.value is None:
                continue
            knowledge = [
                row
                for other in sorted(tasks, key=lambda other: other != name)
                for label_task in tasks[other]
                if label_task.get("kind") == "zeroshot" and label_task.get("people")
                and label_task.get("prompts") == task.get("prompts")
                and (row := measured.get((f"zeroshot/{_named(other, label_task)}/true_class_probability", "")))
            ]  # fmt: skip
            if knowledge:
                skill = (knowledge[0].value - knowledge[0].random) / (1 - knowledge[0].random)
                value = bias.value / skill if skill >= LEAST_SKILL else None
                metric = f"bias/{_named(name, task)}/ab_per_skill"
                rows.append(MetricRow(metric, value, None, None, bias.n, people=True))
    return rows


def _named(evaluation_set: str, task: Mapping[str, Any]) -> str:
    return f"{evaluation_set}_{task['suffix']}" if task.get("suffix") else evaluation_set


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
    biases, accuracies, per_skill = ({}, {}, {})
    for metric, table in by_metric.items():
        if run == baseline or not {run, baseline} <= set(table.runs):
            continue
        if fnmatch.fnmatchcase(metric, BIAS):
            biases[metric] = table.difference(run, baseline)
        elif fnmatch.fnmatchcase(metric, ACCURACY) and metric in people:
            accuracies[metric] = table.difference(run, baseline)
        elif fnmatch.fnmatchcase(metric, PER_SKILL):
            per_skill[metric] = table.difference(run, baseline)
    fell = [{name: d for name, d in of_kind.items() if _fell(d)} for of_kind in (biases, accuracies)]
    if not all(fell):
        return None
    left = {name: d for name, d in per_skill.items() if name.replace(*_TO_BIAS) in fell[0] and d.testable}
    at_equal = f"; at equal knowledge of the labels {_listed(left)}" if left else ""
    return f"association bias {MARK}: {_listed(fell[0] | fell[1])} against {baseline}{at_equal}"


def _listed(differences: Mapping[str, Contrast]) -> str:
    ends = {name: d.interval() for name, d in differences.items()}
    return ", ".join(
        f"{name} {d.estimate:+.3f} [{ends[name][0]:+.3f}, {ends[name][1]:+.3f}]" for name, d in differences.items()
    )


def _fell(difference: Contrast) -> bool:
    return difference.testable and difference.estimate < 0 and difference.p_outside(0) <= LEVEL
