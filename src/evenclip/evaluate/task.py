"""What a task is: a block of options that can measure itself on an embedded set.

One task per module; `evenclip.evaluate.evaluation` joins them. On the command line a task is `KIND:{options}`, in a
study file `{kind: KIND, ...options}`.
"""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Self

import numpy as np
import yaml
from pydantic import AfterValidator, Field

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.options import Options
from evenclip.records import MetricRow


class EvaluateOptions(Options):
    """How metrics are measured."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind each interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Groups with fewer examples get no number but the mark "insufficient"."""


class Task(Options):
    """One kind of measurement; subclasses add a `kind` and their options."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Truth columns of the data folder that `measure` reads."""
        return ()

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield one row per metric and group."""
        raise NotImplementedError

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Read ``KIND`` or ``KIND:{key: value, ...}`` (YAML), e.g. ``zeroshot:{column: object, prompts: objects}``."""
        kind, _, text = argument.partition(":")
        where = f"--task {argument}"
        kinds = {task.model_fields["kind"].default: task for task in Task.__subclasses__()}
        if kind not in kinds:
            near = difflib.get_close_matches(kind, kinds, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known kinds: {', '.join(sorted(kinds))}"
            raise InputError(f"unknown kind of task '{kind}'", where, hint)
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError:
            values = None
        if not isinstance(values, dict):
            raise InputError("the options are not a YAML mapping", where, f"write {kind}:{{key: value, ...}}")
        return kinds[kind].parse(values, where)

    def to_argument(self) -> str:
        """The task as `from_argument` reads it, defaults left out."""
        values = self.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        return f"{self.kind}:{json.dumps(values, sort_keys=True)}" if values else self.kind


def _sum_to_one(shares: dict[str, float] | None) -> dict[str, float] | None:
    if shares is not None and abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares sum to {sum(shares.values()):g}, not to 1")
    return shares


TargetShares = Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]] | None, AfterValidator(_sum_to_one)]


def target_vector(
    targets: dict[str, float] | None, names: Sequence[str], default: np.ndarray, where: str
) -> np.ndarray:
    """The target share of each of ``names``, shape (n_names,); ``default`` where no targets are given."""
    if targets is None:
        return default
    if set(targets) != set(names):
        odd = sorted(set(targets) ^ set(names))[0]
        raise InputError(f"targets and values differ in '{odd}'", where, f"give one target each for {', '.join(names)}")
    return np.array([targets[name] for name in names])


def insufficient(metric: str, group: str, n: int) -> MetricRow:
    """The row that stands for a number that ``n`` examples cannot give."""
    return MetricRow(metric, None, None, None, n, f"{group} (insufficient)")


def small_groups(codes: np.ndarray, names: Sequence[str], minimum: int) -> dict[str, int]:
    """Name and size of the groups with fewer than ``minimum`` examples; ``codes`` index ``names``, -1 = none."""
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    return {name: int(size) for name, size in zip(names, sizes, strict=True) if size < minimum}
