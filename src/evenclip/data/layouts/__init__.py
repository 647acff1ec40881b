"""Layouts of data sets: one module per official format, discovered automatically.

A layout has a function ``find_pairs(source, split, options)``, which yields `Candidate` and `Reject` records of
`evenclip.data.layouts.base`, and a `Description` called ``DESCRIPTION``, from which docs/data.md is written.
"""

from types import ModuleType

from evenclip.plugins import modules_of


def load_layouts() -> dict[str, ModuleType]:
    """The layouts by name."""
    return modules_of(__name__)
