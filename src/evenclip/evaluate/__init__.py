"""Evaluate: quality and bias of a model, measured on embeddings of one set.

Reads an `.npz` of `evenclip embed` (or of anybody) and the truth columns of the set's data folder; writes one JSON
file with a manifest and the metrics, each with a bootstrap 95 % interval. No torch. Command: `evenclip evaluate`.
"""

from evenclip.evaluate.evaluation import evaluate_set
from evenclip.evaluate.options import EvaluateOptions, Task

__all__ = ["EvaluateOptions", "Task", "evaluate_set"]
