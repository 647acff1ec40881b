"""Names of a package that are imported at their first use: its options load without what its stage computes with.

A package that does so imports the same names under `typing.TYPE_CHECKING`, which type checkers read, and the
fingerprints of code.
"""

import importlib
from collections.abc import Callable
from typing import Any


def late_names(package: str, **modules: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package, which takes each name from its module.

    Parameters
    ----------
    package : str
        Dotted name: ``__name__`` in its ``__init__``.
    **modules : str
        The module of the package that has the name, which must not be called like it: Python would bind the package's
        attribute to the module.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
