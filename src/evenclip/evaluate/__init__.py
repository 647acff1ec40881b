"""Evaluation: quality and bias metrics of a model, computed from the embeddings of one set.

Reads an `.npz` written by `evenclip embed` (or by others) and the truth columns of the set's data folder; writes one
JSON file with a manifest and the metrics, each with a 95 % interval. Needs no torch. Command: `evenclip evaluate`.
"""

from typing import TYPE_CHECKING

from evenclip.callable_package import make_callable
from evenclip.evaluate.options import EvaluateOptions, Task
from evenclip.late_names import late_names

if TYPE_CHECKING:
    from evenclip.evaluate.run import evaluate_set

__all__ = ["EvaluateOptions", "Task", "evaluate_set"]

__getattr__ = late_names(__name__, evaluate_set="run")
make_callable(__name__, "arrays")
