"""Stages that are called by their name: ``evenclip.balance(table)`` beside ``evenclip.balance.run``.

The sub-package and the function of a stage have one name, and Python binds a sub-package to its parent's attribute as
soon as anything imports it. So the sub-package itself is called. Type checkers read `__init__.pyi` instead.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(self.__called__), self.__name__.rpartition(".")[2])(
            *arguments, **options
        )


def make_callable(package: str, module: str) -> None:
    """Make a package callable: it calls the function of the same name in ``module``, imported at the first call.

    Parameters
    ----------
    package : str
        Dotted name: ``__name__`` in its ``__init__``.
    module : str
        Name of a module of the package.
    """
    sys.modules[package].__called__ = f"{package}.{module}"
    sys.modules[package].__class__ = _CallablePackage
