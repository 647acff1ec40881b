"""What every kind of task is: a block of options that measures itself on an embedded set; one kind per module."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
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


class Measurement(Options):
    """One kind of task; subclasses add `kind` and their options."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Truth columns of the data folder that `measure` reads."""
        return ()

    @abstractmethod
    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield one row per metric and group."""


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
