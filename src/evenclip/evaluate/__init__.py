"""Evaluate: quality and bias of a model, measured on embeddings of one set.

Reads an `.npz` of `evenclip embed` (or of anybody) and the truth columns of the set's data folder; writes one JSON
file with a manifest and the metrics, each with a bootstrap 95 % interval. No torch. Command: `evenclip evaluate`.
"""

from evenclip.evaluate.options import EvaluateOptions, Task
from evenclip.evaluate.run import evaluate_set

__all__ = ["EvaluateOptions", "Task", "evaluate_set"]
