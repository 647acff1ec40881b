"""Kinds of evaluation task: one module each, discovered automatically.

A module defines one subclass of `Measurement`, whose `kind` is the module's name. It contains the task's options, the
definitions of its metrics and the measurement. Study files, the command line, docs/evaluate.md and bias cards take all
of these from `KINDS`.
"""

from types import ModuleType

from evenclip.evaluate.measurement import Measurement
from evenclip.plugins import modules_of


def _task_of(module: ModuleType) -> type[Measurement]:
    """Subclass of `Measurement` that a module defines."""
    (task,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Measurement) and value.__module__ == module.__name__
    )
    return task


KINDS: dict[str, type[Measurement]] = {name: _task_of(module) for name, module in modules_of(__name__).items()}
"""Kinds of task by name, in alphabetical order."""
