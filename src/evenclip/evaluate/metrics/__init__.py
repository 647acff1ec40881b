"""Kinds of task, one module each, found by existing.

A module holds one subclass of `Measurement` whose `kind` is the module's name. It brings its options, the definitions
of its metrics and the measurement itself; study files, the command line, docs/evaluate.md and bias cards take them from
`KINDS`.
"""

from types import ModuleType

from evenclip.evaluate.measurement import Measurement
from evenclip.plugins import modules_of


def _task_of(module: ModuleType) -> type[Measurement]:
    """The kind of task that a module defines."""
    (task,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Measurement) and value.__module__ == module.__name__
    )
    return task


KINDS: dict[str, type[Measurement]] = {name: _task_of(module) for name, module in modules_of(__name__).items()}
"""Kinds of task by name, in alphabetical order."""
