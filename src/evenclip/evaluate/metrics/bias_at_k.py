"""Bias@k: excess of one group over another among the first k images retrieved by a neutral query.

Reads the truth column of a perceived attribute and the prompts of the labels; yields bias/<set>/bias_at_<k>.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from evenclip.evaluate.bootstrap import Bootstrap, interval_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import Definition, EvaluateOptions, GroupMeasurement
from evenclip.evaluate.ranking import Rankings
from evenclip.tables import MetricRow


class BiasAtK(GroupMeasurement):
    """Bias@k of two groups."""

    metrics: ClassVar = (
        Definition("bias/bias_at_{k}", "excess of the first group over the second among the top k images",
                   "mean over labels of (n_a - n_b) / (n_a + n_b) among the first k, 0 where both are 0", "[-1, 1]",
                   "mean over random rankings", "Wang et al. 2021, arXiv 2109.05433"),
    )  # fmt: skip

    kind: Literal["bias_at_k"] = "bias_at_k"
    """Bias@k."""
    values: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The two groups [a, b]; positive = more of a. Images of neither group stay in the ranking."""
    k: Annotated[int, Field(ge=1)] = 100
    """Number of top-ranked images to use."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield the mean over labels of (n_a - n_b) / (n_a + n_b) among the first k images; 0 if both counts are 0.

        The range is [-1, 1]. Images of neither group are ranked too. The bootstrap is stratified by group.
        """
        name = f"bias/{data.name}/bias_at_{self.k}"
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        yield from groups.insufficient_rows([name])
        if not groups.comparable:
            return
        codes = np.where(groups.rows, groups.codes, 2)
        where = f"Bias@{self.k} of {data.name}, column {self.column}"
        ranked = Rankings.of(data.similarity(self.prompts), codes, 3, self.k, where, bootstrap.seed)
        point, replicates, random = (
            _excess(shares).mean(axis=1)
            for shares in (ranked.shares(), ranked.resampled_shares(bootstrap), ranked.chance_shares(bootstrap.seed))
        )
        yield interval_row(name, point[0], replicates, data.n, random=float(random.mean()))


def _excess(shares: np.ndarray) -> np.ndarray:
    """(a - b) / (a + b), shape (...), of shares, shape (..., 3)."""
    first, second = shares[..., 0], shares[..., 1]
    both = first + second
    return np.divide(first - second, both, out=np.zeros_like(both), where=both > 0)
