"""What every kind of task is: a block of options that measures itself on an embedded set; one kind per module."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field, StringConstraints

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import Columns, EmbeddedSet, as_columns
from evenclip.options import Options
from evenclip.tables import MetricRow


@dataclass(frozen=True)
class Definition:
    """Definition of one metric.

    ``name`` is the metric without the set, e.g. `zeroshot/acc1`, with placeholders such as `{k}`; ``interval`` the
    values it can take; ``random`` what a model that knows nothing scores; ``source`` the paper or project it is from.
    """

    name: str
    meaning: str
    formula: str
    interval: str
    random: str
    source: str


class EvaluateOptions(Options):
    """How metrics are measured."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples behind each interval that is a bootstrap's."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Groups (and sets, for RB, parity, recognition and probes) with fewer examples get the mark "insufficient"."""
    prompt_sensitivity: bool = True
    """Measure each bias metric under every single template too, and report mean and range over the templates."""


class Measurement(Options):
    """One kind of task; subclasses add `kind` and their options."""

    metrics: ClassVar[tuple[Definition, ...]] = ()
    """Definitions of all metrics that `measure` yields."""

    people: bool = False
    """Whether the task is about people: its metrics are reported apart from the others."""
    suffix: Annotated[str, StringConstraints(pattern=r"^\w*$")] = ""
    """Added to the set's name in this task's metrics, e.g. by_race: for a second task of one kind on one set."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Truth columns of the data folder that `measure` reads."""
        return ()

    @property
    def prompt_stem(self) -> str | None:
        """Stem of the prompt file whose embeddings `measure` needs."""
        return getattr(self, "prompts", None)

    @property
    def learns_from(self) -> str | None:
        """The split whose embeddings `measure` trains a probe on, if it names one."""
        return getattr(self, "train_split", None)

    @abstractmethod
    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield one row per metric and group."""


class BiasMeasurement(Measurement):
    """A kind of task that says how a model treats people; its prompts' wording is varied too."""

    people: bool = True
    """Whether the task is about people: its metrics are reported apart from the others."""
    prompts: str
    """Stem of the prompt file."""


class GroupMeasurement(BiasMeasurement):
    """A bias measurement that compares the groups of perceived attributes."""

    column: Columns
    """Truth column with the perceived attribute, or several: their intersections. Images without a value are left
    out."""
    values: Annotated[list[str], Field(min_length=2)] | None = None
    """The groups to compare, e.g. [woman, man], or of intersections [woman/black, ...]; default all that occur."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The attributes' columns."""
        return as_columns(self.column)


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
