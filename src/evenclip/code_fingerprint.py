"""Fingerprints of what a stage's code does: edits of comments, docstrings and layout leave them as they are."""

import ast
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from evenclip.errors import InputError
from evenclip.provenance import atomic_file

PACKAGE = "evenclip"
SOURCE = Path(__file__).resolve().parent.parent


@cache  # a training asks for it once a seed
def code_fingerprint(*modules: str) -> str:
    """Hash of what a stage's code does: the AST, without docstrings, of the modules and of all they import.

    Comments, formatting and docstrings leave it unchanged; any other edit in ``modules`` or in a module of this
    package that they import, at any depth, changes it, and so does an edit of a data file (a page template) that
    lies beside them in a sub-package.

    Parameters
    ----------
    *modules : str
        Dotted names such as ``"evenclip.train"``; a package stands for its ``__init__`` only, unless that finds its
        parts with `evenclip.plugins.modules_of`: then for all its modules.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, path in modules_behind(*modules).items():
        digest.update(f"{name}\n{_imports_and_code(name, path)[1]}\n".encode())
        if path.name == "__init__.py" and name != PACKAGE:
            for data in sorted(p for p in path.parent.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc")):
                digest.update(f"{data.name}\n".encode() + data.read_bytes())
    return digest.hexdigest()[:16]


def modules_behind(*modules: str) -> dict[str, Path]:
    """The modules of this package that ``modules`` import at any depth, themselves too: dotted name -> file, sorted."""
    if unknown := [name for name in modules if module_path(name) is None]:
        raise ValueError(f"no module {unknown[0]}")
    pending, seen, paths = set(modules), set(), {}
    while pending:
        seen.add(name := pending.pop())
        if path := module_path(name):
            paths[name] = path
            pending |= _imports_and_code(name, path)[0] - seen
    _kept_parses(SOURCE).save()
    return dict(sorted(paths.items()))


def module_path(name: str) -> Path | None:
    """The file of a module or package of this package; None where there is none."""
    base = SOURCE / Path(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache  # a workflow asks for the fingerprints of many stages, which share most of their modules
def _imports_and_code(name: str, path: Path) -> tuple[frozenset[str], str]:
    """What a module imports of this package, and the hash of its AST without docstrings."""
    text = path.read_bytes()
    digest = hashlib.sha256(Path(__file__).read_bytes() + f"\n{name}\n".encode() + text)
    if path.name == "__init__.py":  # of a family, all modules count
        digest.update(" ".join(sorted(str(part) for part in _parts(path))).encode())
    parses, key = _kept_parses(SOURCE), digest.hexdigest()
    if (kept := parses.entries.get(name)) is None or kept[0] != key:
        nodes = list(ast.walk(tree := ast.parse(text)))
        imports = package_imports(name, path, nodes)
        for node in nodes:
            body = getattr(node, "body", None)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
                # every bare string statement: docstrings, and the attribute docstrings of option blocks
                node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str))]  # fmt: skip  # noqa: E501
        code = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
        kept = parses.entries[name] = [key, sorted(imports), code]
        parses.changed = True
    return frozenset(kept[1]), kept[2]


class _KeptParses:
    """What was found in modules before, by the hash of their bytes, beside their bytecode and as dispensable.

    To parse all modules takes a third of a study's plan.
    """

    def __init__(self, source: Path):
        self._file = source / PACKAGE / "__pycache__" / f"code_fingerprint.{sys.implementation.cache_tag}.json"
        self.changed = False
        self.entries: dict[str, list] = {}
        with contextlib.suppress(OSError, ValueError):
            self.entries = json.loads(self._file.read_text(encoding="utf-8"))

    def save(self) -> None:
        """Write what is new, where bytecode could be written."""
        if self.changed and not sys.dont_write_bytecode:
            with contextlib.suppress(InputError), atomic_file(self._file) as temporary:
                temporary.write_text(json.dumps(self.entries), encoding="utf-8")
        self.changed = False


_kept_parses = cache(_KeptParses)


def _parts(path: Path) -> list[Path]:
    """The modules and sub-packages of the package whose ``__init__`` is ``path``."""
    parts = [*path.parent.glob("*.py"), *(package.parent for package in path.parent.glob("*/__init__.py"))]
    return [part for part in parts if part != path]


def package_imports(name: str, path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    """Modules of this package that a module imports, and the packages they lie in.

    Parameters
    ----------
    name : str
        Dotted name of the module.
    path : Path
        Its file.
    nodes : Iterable of AST
        Which of its imports count: nodes of its syntax tree. All modules of a family (`modules_of`) count.
    """
    modules: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                is_package = path.name == "__init__.py"
                parts = name.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            modules |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "modules_of":
            modules |= {f"{name}.{part.stem}" for part in _parts(path)}  # see evenclip.plugins
    inside = {module for module in modules if module.split(".")[0] == PACKAGE}
    parents = {".".join(module.split(".")[:i]) for module in inside for i in range(2, module.count(".") + 1)}
    return inside | parents - {PACKAGE}
