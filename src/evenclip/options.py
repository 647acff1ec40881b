"""Strict option blocks: each stage declares its own, the study file and the command line fill it.

An unknown key is an error that names the nearest known one. `to_arguments` writes a block as the
`--option key=value` arguments that `from_arguments` reads back, so that a Snakemake rule shows in its
shell line exactly what it runs.
"""

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from evenclip.errors import InputError

_UNION_TAG = re.compile(r"literal\[|constrained-|(float|int|str|bool)$")  # what pydantic adds to a union's errors
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Options(BaseModel):
    """A block of options: immutable, no unknown keys, every field with a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate ``values``; raise `InputError` naming the key, and the nearest known key if it is unknown."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _as_input_error(cls, error, where) from None

    @classmethod
    def from_arguments(cls, arguments: Iterable[str], where: str = "--option", **fixed: Any) -> Self:
        """Read ``key=value`` strings; values are YAML, so ``lr=1e-3``, ``amp=true`` and ``x={a: 1}`` all work."""
        values: dict[str, Any] = {}
        for argument in arguments:
            key, equals, text = argument.partition("=")
            if not equals:
                raise InputError(f"'{argument}' is not of the form key=value", where, "write e.g. --option epochs=10")
            values[key.strip()] = parse_value(text)
        return cls.parse(values | fixed, where)

    def to_arguments(self, exclude: Iterable[str] = ()) -> list[str]:
        """The block as ``key=json`` strings, defaults left out; `from_arguments` is the inverse."""
        values = self.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))
        return [f"{key}={json.dumps(value, sort_keys=True)}" for key, value in values.items()]


def read_yaml(path: str | os.PathLike) -> Any:
    """Read a YAML file; `InputError` with line and column if it is not readable YAML."""
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file)
    except FileNotFoundError:
        raise InputError("no such file", str(path), "check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InputError(f"not valid YAML ({getattr(error, 'problem', error)})", where, "mend the syntax") from None


def expand_variables(text: str, where: str) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}`` by environment variables; unset without default is an error."""

    def value(match: re.Match) -> str:
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise InputError(f"the environment variable {name} is not set", where, f"export {name}=... or edit {where}")
        return found

    return _VARIABLE.sub(value, text)


def parse_value(text: str) -> Any:
    """One value as JSON or else YAML reads it, but ``1e-3`` is a number too; text that is neither stays text."""
    try:
        return json.loads(text, parse_constant=_not_a_constant)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _not_a_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_input_error(model: type[BaseModel], error: ValidationError, where: str) -> InputError:
    messages: list[str] = []
    alternatives: dict[str, list[str]] = {}
    hints = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if not _UNION_TAG.match(str(part))) or "(the whole block)"
        if problem["type"] == "extra_forbidden":
            known = _known_keys(model, problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
            messages.append(f"unknown key '{key}'")
            hints.append(f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}")
        else:
            alternatives.setdefault(key, []).append(problem["msg"])
    messages += [f"'{key}': {', or: '.join(found)}" for key, found in alternatives.items()]
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
        found = [node["properties"][part]]
    elif isinstance(part, int):
        found = [node["items"]] if "items" in node else []
    else:
        named = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
        found = [child for child in named if isinstance(child, dict)]
    return [option for child in found for option in _resolve(child, definitions).get("anyOf", [child])]
