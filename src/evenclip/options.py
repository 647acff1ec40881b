"""Strict option blocks: each stage declares its own; the study file and the command line fill them.

An unknown key is an error that names the nearest known one. `Options.to_arguments` writes a block as the `key=value`
strings that `Options.from_arguments` reads back, so a rule's shell line shows exactly what runs. Also here: types of
numbers with sane bounds, and the only readers of YAML, which refuse a key that is written twice.
"""

import ast
import difflib
import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, RootModel, StringConstraints, ValidationError

from evenclip.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
"""A share or probability."""
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=10**12)]
"""How many of anything; the largest public sets have 10**10 pairs."""
BatchSize = Annotated[int, Field(ge=2, le=10**7)]
"""What is in memory at once; the largest batches that are published have 10**6 pairs."""
Threads = Annotated[int, Field(ge=1, le=4096)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A random seed: what NumPy and PyTorch both take."""
FilePath = Annotated[str, StringConstraints(min_length=1)]
"""The path of a file or folder."""

_UNION_TAG = re.compile(r"literal\[|constrained-|(float|int|str|bool)$")  # what pydantic adds to a union's errors
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Options(BaseModel):
    """A block of options: immutable, no unknown keys, every field with a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with the docstrings of fields as descriptions.

        pydantic's `use_attribute_docstrings` looks for them when a class is made: half of the start of a study's plan.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _attribute_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate ``values``; raise `InputError` naming the key, and the nearest known key if it is unknown."""
        try:
            block = cls.model_validate(values)
        except ValidationError as error:
            raise _as_input_error(cls, error, where) from None
        except RecursionError:
            raise InputError("nested too deeply", where, "reduce the nesting") from None
        _refuse_lossy_values(values, block, (), where)
        return block

    @classmethod
    def from_arguments(cls, arguments: Iterable[str], where: str = "--option", **fixed: Any) -> Self:
        """Read ``key=value`` strings; values are YAML, so ``lr=1e-3``, ``amp=true`` and ``x={a: 1}`` all work."""
        values: dict[str, Any] = {}
        for argument in arguments:
            key, equals, text = argument.partition("=")
            key = key.strip()
            if not equals:
                raise InputError(f"'{argument}' is not of the form key=value", where, "write e.g. --option epochs=10")
            if key in values:
                raise InputError(f"'{key}' is given twice", where, "give each option once")
            values[key] = parse_value(text)
        return cls.parse(values | fixed, where)

    def to_arguments(self, exclude: Iterable[str] = ()) -> list[str]:
        """The block as ``key=json`` strings, defaults left out; `from_arguments` is the inverse."""
        values = self.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))
        return [f"{key}={json.dumps(value, sort_keys=True)}" for key, value in values.items()]

    def to_flags(self) -> list[str]:
        """The block as a command takes it: ``--option key=json`` for each option that is not at its default."""
        return repeated("--option", self.to_arguments())


def repeated(flag: str, values: Iterable[Any]) -> list[str]:
    """Command-line arguments that give ``flag`` once for each value."""
    return [argument for value in values for argument in (flag, str(value))]


class _StrictLoader(yaml.SafeLoader):
    """YAML as `yaml.safe_load` reads it, but a key that is written twice in a mapping is an error."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    raise yaml.composer.ComposerError(
                        problem=f"the key '{key.value}' is written twice", problem_mark=key.start_mark
                    )
                keys.add((key.tag, key.value))
        return node


def read_text(path: str | os.PathLike, instead: str = "check the path") -> str:
    """Read a text file in UTF-8, line endings as they are; `InputError` if it is missing or is not one."""
    name = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}..."
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError("no such file", name, instead) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", name, instead) from None
    except UnicodeDecodeError:
        raise InputError("is not text in UTF-8", name, instead) from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"cannot be the path of a file ({error})", repr(name), instead) from None


def read_yaml(path: str | os.PathLike) -> Any:
    """Read a YAML file; `InputError` with line and column if it is not valid, or has a key twice."""
    return load_yaml(read_text(path), str(path))


def load_yaml(text: str, where: str) -> Any:
    """Read YAML; `InputError` with line and column if it is not valid, or has a key twice.

    Parameters
    ----------
    text : str
        One YAML document.
    where : str
        The file, or what else the text is of, for the error.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise InputError(
            f"not valid YAML ({getattr(error, 'problem', error)})", position, "correct the syntax"
        ) from None
    except RecursionError:
        raise InputError("not valid YAML (nested too deeply)", where, "reduce the nesting") from None
    except ValueError as error:  # a number of thousands of digits, or a date such as 2024-13-99
        raise InputError(f"not valid YAML ({error})", where, "write text in quotes") from None


def expand_variables(text: str, where: str) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}`` by environment variables; unset without default is an error."""

    def value(match: re.Match) -> str:
        name, default = match.groups()
        variable = os.environ.get(name, default)
        if variable is None:
            raise InputError(f"the environment variable {name} is not set", where, f"export {name}=... or edit {where}")
        return variable

    return _VARIABLE.sub(value, text)


def parse_value(text: str) -> Any:
    """One value as JSON or else YAML reads it, but ``1e-3`` is a number too; text that is neither stays text."""
    try:
        return json.loads(text, parse_constant=_not_a_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.composer.ComposerError as error:
        raise InputError(error.problem, text[:80], "write each key once") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _not_a_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one with a key twice is left to the YAML reader, which says so."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is written twice")
    return dict(pairs)


def _refuse_lossy_values(given: Any, made: Any, path: tuple[str, ...], where: str) -> None:
    """Raise `InputError` where validation took a truth value for a number, or what no file or table can hold.

    Parameters
    ----------
    given, made : Any
        A value as it was written, and what validation made of it.
    path : tuple of str
        Keys that lead to it.
    where : str
        The file or argument, for the error.
    """
    key = ".".join(path)
    made = made.root if isinstance(made, RootModel) else made
    if isinstance(given, bool) and not isinstance(made, bool):
        raise InputError(f"'{key}': {str(given).lower()} is no {type(made).__name__}", where, "write a number")
    if isinstance(made, int) and abs(made) >= 2**63:
        raise InputError(f"'{key}': the number is too large", where, "at most 2^63 - 1")
    if isinstance(made, str) and "\0" in made:
        raise InputError(f"'{key}': the text has a NUL character", where, "leave it out")
    if isinstance(given, Mapping) and isinstance(made, BaseModel | Mapping):
        for name, value in given.items():
            inner = made.get(name) if isinstance(made, Mapping) else getattr(made, str(name), value)
            _refuse_lossy_values(value, inner, (*path, str(name)), where)
    elif isinstance(given, Sequence) and isinstance(made, Sequence) and not isinstance(given, str):
        for i, (value, inner) in enumerate(zip(given, made, strict=False)):
            _refuse_lossy_values(value, inner, (*path, str(i)), where)


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """The string after each attribute of a class and its bases of this kind, by the attribute's name."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if issubclass(base, Options)]):
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except OSError:  # typed into an interpreter
            continue
        for attribute, after in pairwise(definition.body):
            match attribute, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found


def _as_input_error(model: type[BaseModel], error: ValidationError, where: str) -> InputError:
    messages: list[str] = []
    alternatives: dict[str, list[str]] = {}
    hints = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if not _UNION_TAG.match(str(part))) or "(the whole block)"
        if problem["type"] == "extra_forbidden":
            keys = _known_keys(model, problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), keys, n=1, cutoff=0.5)
            messages.append(f"unknown key '{key}'")
            hints.append(f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(keys))}")
        else:
            alternatives.setdefault(key, []).append(problem["msg"])
    messages += [f"'{key}': {', or: '.join(problems)}" for key, problems in alternatives.items()]
    return InputError("; ".join(messages), where, "; ".join(dict.fromkeys(hints)) or None)


def _known_keys(model: type[BaseModel], path: tuple) -> list[str]:
    """Every key allowed at ``path`` of ``model``, found in its JSON schema."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    nodes = [schema]
    for part in path:
        nodes = [child for node in nodes for child in _children(node, part, definitions)]
    return sorted({key for node in nodes for key in _resolve(node, definitions).get("properties", {})})


def _resolve(node: dict, definitions: dict) -> dict:
    return definitions[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def _children(node: dict, part: Any, definitions: dict) -> list[dict]:
    node = _resolve(node, definitions)
    variants = node.get("discriminator", {}).get("mapping", {})
    if part in variants:  # a discriminated union puts its tag into the error's path
        return [{"$ref": variants[part]}]
    if part in node.get("properties", {}):
        children = [node["properties"][part]]
    elif isinstance(part, int):
        children = [node["items"]] if "items" in node else []
    else:
        named = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
        children = [child for child in named if isinstance(child, dict)]
    return [option for child in children for option in _resolve(child, definitions).get("anyOf", [child])]
