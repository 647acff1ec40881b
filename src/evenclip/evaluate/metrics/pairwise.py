"""Pairwise association bias: difference between two groups in preferring one occupation of a pair.

Reads the truth column of a perceived attribute and the prompts of occupations; yields
bias/<set>/{pairwise_ab, pairwise_ab_max, pairwise_ab_mean}.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, chance_level
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import Definition, EvaluateOptions, GroupMeasurement
from evenclip.tables import MetricRow

Pair = Annotated[list[str], Field(min_length=2, max_length=2)]

# pairs reported for SigLIP 2 and WebLI-100B
PUBLIC_PAIRS = [
    ["librarian", "scientist"], ["nurse", "doctor"], ["housekeeper", "homeowner"], ["receptionist", "executive"],
    ["secretary", "manager"],
]  # fmt: skip
SOURCE = "Tschannen et al. 2025 (SigLIP 2), arXiv 2502.14786; Wang et al. 2025 (WebLI-100B), arXiv 2502.07617"
FORMULA = "P(prefers A | first group) - P(prefers A | second group)"


class Pairwise(GroupMeasurement):
    """Pairwise association bias of two groups over pairs of occupations."""

    metrics: ClassVar = (
        Definition("bias/pairwise_ab", "difference between two groups in preferring occupation A over B", FORMULA,
                   "[-1, 1]", "0", SOURCE),
        Definition("bias/pairwise_ab_max", "largest absolute pairwise association over the pairs",
                   f"max |{FORMULA}|", "[0, 1]",
                   "mean over permuted group labels", SOURCE),
        Definition("bias/pairwise_ab_mean", "mean absolute pairwise association over the pairs",
                   f"mean |{FORMULA}|", "[0, 1]",
                   "mean over permuted group labels", SOURCE),
    )  # fmt: skip

    kind: Literal["pairwise"] = "pairwise"
    """Pairwise association bias."""
    values: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The two groups to compare, e.g. [woman, man]."""
    pairs: Annotated[list[Pair], Field(min_length=1)] = PUBLIC_PAIRS
    """Pairs [A, B] of classes of the prompts; default: the five pairs of published evaluations."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield P(A more similar than B | first group) - P(A more similar than B | second group); ties count half.

        There is one signed row per pair (group "A/B"), and one each for the largest and the mean absolute value over
        pairs. The bootstrap is stratified by group.
        """
        classes = data.classes(self.prompts)
        unknown = [name for pair in self.pairs for name in pair if name not in classes.names]
        if unknown:
            hint = f"give pairs of: {', '.join(classes.names)}"
            raise InputError(f"'{unknown[0]}' is not a class of {self.prompts}", data.where, hint)
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        metric = f"bias/{data.name}/pairwise_ab"
        yield from groups.insufficient_rows([f"{metric}_max", f"{metric}_mean"])
        if not groups.comparable:
            return
        similarity, strata = data.similarity(self.prompts)[groups.rows], groups.strata
        first, second = ([classes.names.index(pair[side]) for pair in self.pairs] for side in (0, 1))
        preference = (np.sign(similarity[:, first] - similarity[:, second]) + 1) / 2
        means = bootstrap.means(preference, strata)
        for reduce in ("max", "mean"):

            def statistic(m: np.ndarray, reduce: str = reduce) -> np.ndarray:
                return getattr(np.abs(m[..., 0, :] - m[..., 1, :]), reduce)(axis=-1)

            random = chance_level(statistic, preference, strata, bootstrap.seed)
            yield means.norm_row(f"{metric}_{reduce}", statistic, groups.n, random)
        for index, pair in enumerate(self.pairs):
            yield means.row(
                metric, lambda m, i=index: m[..., 0, i] - m[..., 1, i], groups.n, "/".join(pair), random=0.0
            )
