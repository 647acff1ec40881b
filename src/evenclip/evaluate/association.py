"""Association bias of a model: does its zero-shot head see some labels more often in one group than in another?

Reads a perceived attribute's truth column and the prompts of the labels; yields bias/<set>/{ab_max, ab_mean, ab}.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import EvaluateOptions, Measurement, insufficient, small_groups
from evenclip.records import MetricRow


class Association(Measurement):
    """Model AB between two values of a perceived attribute and labels."""

    kind: Literal["association"] = "association"
    """Association bias."""
    prompts: str
    """Stem of the prompt file with the labels, e.g. occupations."""
    column: str
    """Truth column with the perceived attribute."""
    values: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """The two values to compare, e.g. [woman, man]; images with another one are left out.

    Default: the two that the column has."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The attribute's column."""
        return (self.column,)

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """ab_r = E[f_r | first value] - E[f_r | second value], f = the zero-shot distribution over the labels.

        One signed row per label (metric ab, group = label, positive = more in the first value), and over the labels
        ab_max = max_r |ab_r| and ab_mean = mean_r |ab_r|, range [0, 1] (model AB of M4, arXiv 2403.04547).
        The bootstrap is stratified by group. Absolute values and maxima are biased upwards, see
        `evenclip.evaluate.bootstrap`.
        """
        values = self._compared(data)
        truth = data.truth[self.column]
        codes = np.select([truth == value for value in values], [0, 1], default=-1)
        small = small_groups(codes, values, options.minimum_group)
        for metric in ("ab_max", "ab_mean"):
            yield from (insufficient(f"bias/{data.name}/{metric}", group, n) for group, n in small.items())
        if small:
            return
        labels = data.classes(self.prompts).names
        rows = codes >= 0
        n = int(rows.sum())
        means = bootstrap.means(data.probabilities(self.prompts)[rows], codes[rows])
        yield means.row(f"bias/{data.name}/ab_max", lambda m: np.abs(m[..., 0, :] - m[..., 1, :]).max(axis=-1), n)
        yield means.row(f"bias/{data.name}/ab_mean", lambda m: np.abs(m[..., 0, :] - m[..., 1, :]).mean(axis=-1), n)
        for index, label in enumerate(labels):
            yield means.row(f"bias/{data.name}/ab", lambda m, r=index: m[..., 0, r] - m[..., 1, r], n, group=label)

    def _compared(self, data: EmbeddedSet) -> list[str]:
        """The two values, each of which some image has."""
        have = sorted(set(data.truth[self.column].tolist()) - {""})
        values, where = self.values or have, f"{data.where}, column {self.column}"
        absent = [value for value in values if value not in have]
        if absent:
            raise InputError(f"no image has the value '{absent[0]}'", where, f"the column has: {', '.join(have)}")
        if len(set(values)) != 2:
            what = f"association compares two values, not {len(set(values))}"
            raise InputError(what, where, f"write values: [FIRST, SECOND] of: {', '.join(have)}")
        return values
