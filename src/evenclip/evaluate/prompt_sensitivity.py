"""Prompt sensitivity: how much a bias metric depends on the wording of its prompts.

Measures a task under every single template of its prompt file; yields <metric>_prompt_mean and <metric>_prompt_range.
"""

from collections.abc import Iterator

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import BiasMeasurement, Definition, EvaluateOptions
from evenclip.tables import MetricRow

DEFINITIONS = (
    Definition("{bias metric}_prompt_mean", "mean of the metric over the single templates of its prompts",
               "(1/T) sum_t metric under template t", "that of the metric", "that of the metric",
               "ours"),
    Definition("{bias metric}_prompt_range", "how far the metric moves with the wording alone",
               "max_t - min_t of the metric under template t", "[0, width of the metric's range]", "none",
               "ours"),
)  # fmt: skip


def over_templates(task: BiasMeasurement, data: EmbeddedSet, seed: int, options: EvaluateOptions) -> list[MetricRow]:
    """Mean and range over the templates of each of the task's overall metrics; n = number of templates.

    Nothing where the prompts have one template only, and nothing for single groups and labels.
    """
    n_templates = len(data.prompts[task.prompts].templates)
    if n_templates < 2:
        return []
    once = Bootstrap(1, seed)  # the intervals of single templates are not reported
    measured = [
        {row.metric: row for row in task.measure(data.with_template(task.prompts, index), once, options)
         if not row.group and row.value is not None}
        for index in range(n_templates)
    ]  # fmt: skip
    return [row for metric in measured[0] for row in _rows(metric, [rows[metric] for rows in measured])]


def _rows(metric: str, rows: list[MetricRow]) -> Iterator[MetricRow]:
    values, chances = np.array([row.value for row in rows]), [row.random for row in rows if row.random is not None]
    random = float(np.mean(chances)) if chances else None
    yield MetricRow(f"{metric}_prompt_mean", float(values.mean()), None, None, len(rows), random=random)
    yield MetricRow(f"{metric}_prompt_range", float(np.ptp(values)), None, None, len(rows))
