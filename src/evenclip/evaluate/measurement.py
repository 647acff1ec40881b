"""Base classes of evaluation tasks: blocks of options that can measure themselves on an embedded set."""

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
    """Definition of one metric, for tables and bias cards.

    Attributes
    ----------
    name : str
        The metric without the set, e.g. `zeroshot/acc1`, with placeholders such as `{k}`.
    meaning, formula : str
    interval : str
        Range of possible values.
    random : str
        Chance level: the score of a random model.
    source : str
        Paper or project that defined the metric.
    """

    name: str
    meaning: str
    formula: str
    interval: str
    random: str
    source: str


class EvaluateOptions(Options):
    """Options for measuring metrics."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    """Number of bootstrap resamples for an interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Smallest number of examples for a value; smaller groups are marked "insufficient". For representation bias,
    parity, recognition and compositional probes the limit also holds for the whole set."""
    prompt_sensitivity: bool = True
    """Also measure each bias metric under every single prompt template, and report mean and range over templates."""


class Measurement(Options):
    """A task: what to measure on a set. Subclasses add `kind` and their own options."""

    metrics: ClassVar[tuple[Definition, ...]] = ()
    """Definitions of the metrics that `measure` yields."""

    people: bool = False
    """Whether the task is about people; its metrics are then reported separately."""
    suffix: Annotated[str, StringConstraints(pattern=r"^\w*$")] = ""
    """Suffix to the set's name in the metrics, e.g. by_race; tells tasks of one kind on one set apart."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Truth columns of the data folder that `measure` needs."""
        return ()

    @property
    def prompt_stem(self) -> str | None:
        """Stem of the prompt file whose embeddings `measure` needs."""
        return getattr(self, "prompts", None)

    @property
    def learns_from(self) -> str | None:
        """Split whose embeddings `measure` trains a probe on, if any."""
        return getattr(self, "train_split", None)

    @abstractmethod
    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield one row per metric and group."""


class BiasMeasurement(Measurement):
    """A task about how a model treats people; it is repeated under each prompt template."""

    people: bool = True
    """Whether the task is about people; its metrics are then reported separately."""
    prompts: str
    """Name of the prompt file without `.yaml`."""


class GroupMeasurement(BiasMeasurement):
    """A bias task that compares the groups of a perceived attribute."""

    column: Columns
    """Truth column with the perceived attribute, or a list of columns for their intersections. Images without a value
    are left out."""
    values: Annotated[list[str], Field(min_length=2)] | None = None
    """Groups to compare, e.g. [woman, man], or [woman/black, ...] for intersections; default: all that occur."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the attributes."""
        return as_columns(self.column)


def _sum_to_one(shares: dict[str, float] | None) -> dict[str, float] | None:
    if shares is not None and abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares sum to {sum(shares.values()):g}, not to 1")
    return shares


TargetShares = Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]] | None, AfterValidator(_sum_to_one)]


def target_vector(
    targets: dict[str, float] | None, names: Sequence[str], default: np.ndarray, where: str
) -> np.ndarray:
    """Target share of each of ``names``, shape (n_names,); ``default`` if no targets are given."""
    if targets is None:
        return default
    if set(targets) != set(names):
        odd = sorted(set(targets) ^ set(names))[0]
        raise InputError(f"targets and values differ in '{odd}'", where, f"give one target each for {', '.join(names)}")
    return np.array([targets[name] for name in names])


def insufficient(metric: str, group: str, n: int) -> MetricRow:
    """Row without a value, marked "insufficient": ``n`` examples are too few."""
    return MetricRow(metric, None, None, None, n, f"{group} (insufficient)")
