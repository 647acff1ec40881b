"""Automatic discovery of parts: each module of a package is one part (a strategy, a layout, a metric).

A part that is too large for a module is a sub-package.

A family is a package whose ``__init__`` calls ``modules_of(__name__)`` and reads what it needs off the modules. So a
part is added by adding its file, and no list has to name it. `evenclip.code_fingerprint` knows this call:
all modules of such a package belong to the code of whoever imports the package.
"""

import ast
import importlib
import importlib.util
import os
import pkgutil
from pathlib import Path
from types import ModuleType


def modules_of(package: str) -> dict[str, ModuleType]:
    """Import every module of a package, and give them by name in alphabetical order.

    Parameters
    ----------
    package : str
        Dotted name of the package: ``__name__`` in its ``__init__``.

    Returns
    -------
    dict of str to module
        Modules and sub-packages alike, without private ones (``_name``) and ``base``, which holds what the parts share.
    """
    return {name: importlib.import_module(f"{package}.{name}") for name in names_of(package)}


def names_of(package: str) -> list[str]:
    """The names that `modules_of` gives, without importing anything: for option blocks and help texts."""
    root, *inner = package.split(".")  # the packages above are not imported: they may be heavy
    folders = importlib.util.find_spec(root).submodule_search_locations
    infos = pkgutil.iter_modules([os.path.join(folder, *inner) for folder in folders])
    names = sorted(info.name for info in infos)
    return [name for name in names if name != "base" and not name.startswith("_")]


def summaries_of(package: str) -> dict[str, str]:
    """First line of the docstring of each part of a family of this project, by name.

    Nothing is imported, not even the package that the family lies in.
    """
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    paths = (path for path in sorted(folder.glob("*.py")) if path.stem != "base" and not path.stem.startswith("_"))
    docstrings = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in paths}
    return {name: (docstring or "").partition("\n")[0] for name, docstring in docstrings.items()}
