"""Tasks and options of the evaluate stage.

On the command line a task is `KIND:{key: value, ...}`, in a study file `{kind: KIND, key: value, ...}`.
"""

import difflib
import json
from collections.abc import Iterable
from typing import Annotated, Self, Union

from pydantic import ConfigDict, Field, RootModel

from evenclip.errors import InputError
from evenclip.evaluate.measurement import EvaluateOptions
from evenclip.evaluate.metrics import KINDS
from evenclip.options import parse_value

__all__ = ["KINDS", "EvaluateOptions", "Task", "train_split"]

Kind = Union[tuple(KINDS.values())]  # noqa: UP007  (built from the modules in evenclip.evaluate.metrics)


class Task(RootModel):
    """A task of any kind; ``root`` is its `Measurement`."""

    model_config = ConfigDict(frozen=True)

    root: Annotated[Kind, Field(discriminator="kind")]

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Parse ``KIND`` or ``KIND:{key: value, ...}`` (YAML), e.g. ``zeroshot:{column: object, prompts: objects}``."""
        kind, _, text = argument.partition(":")
        where = f"--task {argument}"
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the kinds are {', '.join(KINDS)}"
            raise InputError(f"unknown kind of task '{kind}'", where, hint)
        values = parse_value(text) if text else {}
        if not isinstance(values, dict):
            raise InputError("the options are not a YAML mapping", where, f"write '{kind}:{{key: value, ...}}'")
        return cls(KINDS[kind].parse(values, where))

    def to_argument(self) -> str:
        """The task in the form that `from_argument` parses, without defaults."""
        values = self.root.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        return f"{self.root.kind}:{json.dumps(values, sort_keys=True)}" if values else self.root.kind

    def prompt_stems(self) -> list[str]:
        """Stems of the prompt files whose embeddings the task needs."""
        return [self.root.prompt_stem] if self.root.prompt_stem else []


def train_split(tasks: Iterable[Task]) -> str | None:
    """Training split of the linear probes among ``tasks``, if any; `InputError` if they name two."""
    splits = sorted({task.root.learns_from for task in tasks if task.root.learns_from})
    if len(splits) > 1:
        raise InputError(f"probes of one set train on {' and '.join(splits)}", "train_split", "name one split")
    return splits[0] if splits else None
