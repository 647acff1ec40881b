"""Mean parity of a model: mean difference between its predictions of two values of an attribute.

Reads the prompts of the attribute's values and, for parity by label, a truth column; yields bias/<set>/mean_parity.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import BiasMeasurement, Definition, EvaluateOptions, insufficient
from evenclip.tables import MetricRow


class Parity(BiasMeasurement):
    """Mean parity between two values of a perceived attribute."""

    metrics: ClassVar = (
        Definition("bias/mean_parity", "mean difference between the predictions of the first and the second value",
                   "E_x[f_a(x) - f_b(x)]", "[-1, 1]", "0",
                   "Alabdulmohsin et al. 2024 (M4), arXiv 2403.04547"),
    )  # fmt: skip

    kind: Literal["parity"] = "parity"
    """Mean parity."""
    values: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The two values [a, b] among the classes of the prompts; positive = a is predicted more."""
    column: str | None = None
    """Truth column, e.g. with occupations; parity is then also measured within each of its values."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Column of labels, if any."""
        return (self.column,) if self.column else ()

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield E[f_a(x) - f_b(x)] over all images (group '') and within each value of ``column``, in [-1, 1].

        f is the zero-shot distribution over all classes of the prompts. With two classes and equal targets,
        representation bias is half the absolute value.
        """
        names = data.classes(self.prompts).names
        for value in self.values:
            if value not in names:
                raise InputError(
                    f"'{value}' is not a class of {self.prompts}", data.where, f"one of {', '.join(names)}"
                )
        f = data.probabilities(self.prompts)
        first, second = (names.index(value) for value in self.values)
        difference = (f[:, first] - f[:, second])[:, None]
        metric = f"bias/{data.name}/mean_parity"
        if data.n < options.minimum_group:
            yield insufficient(metric, "all images", data.n)
        else:
            yield bootstrap.means(difference).row(metric, _single_mean, data.n, random=0.0)
        if self.column is None:
            return
        groups = find_groups(data, self.column, None, options.minimum_group)
        yield from groups.insufficient_rows([metric])
        for code, name in enumerate(groups.names):
            rows = groups.codes == code
            yield bootstrap.means(difference[rows]).row(metric, _single_mean, rows.sum(), name, random=0.0)


def _single_mean(means: np.ndarray) -> np.ndarray:
    return means[..., 0, 0]
