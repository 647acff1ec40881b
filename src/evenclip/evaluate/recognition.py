"""Attribute recognition: how well the perceived attribute itself is seen, and how evenly over its groups.

Reads the attribute's truth column and prompts; yields recognition/<set>/{acc1, attribute_gap}.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.chance import chance_of
from evenclip.evaluate.definitions import Definition
from evenclip.evaluate.embedded import Columns, EmbeddedSet, as_columns
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.hits import top_k_hits
from evenclip.evaluate.measurement import BiasMeasurement, EvaluateOptions
from evenclip.records import MetricRow

M4 = "Alabdulmohsin et al. 2024 (M4), arXiv 2403.04547"


class Recognition(BiasMeasurement):
    """Zero-shot recognition of a perceived attribute."""

    metrics: ClassVar = (
        Definition("recognition/acc1", "share of images whose perceived attribute is recognised, in all and by group",
                   "P(argmax_k f_k(x) = s(x))", "[0, 1]", "1 / number of values", M4),
        Definition("recognition/attribute_gap", "difference between the best and the worst recognised group",
                   "max_g acc1_g - min_g acc1_g", "[0, 1]", "mean over random deals of the groups", "ours"),
    )  # fmt: skip

    kind: Literal["recognition"] = "recognition"
    """Recognition of the perceived attribute."""
    column: str
    """Truth column with the perceived attribute."""
    groups: Columns | None = None
    """Truth columns that make the groups, e.g. [gender, race]; default: the attribute itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The attribute's column and those of the groups."""
        return (self.column, *as_columns(self.groups or ()))

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Zero-shot accuracy over all images with a value (group ''), in each group, and the largest difference.

        acc1 of a group of the attribute itself is its recall. attribute_gap = highest minus lowest accuracy of the
        groups that are large enough, range [0, 1]. The bootstrap is stratified by group.
        """
        names = data.classes(self.prompts).names
        codes = data.codes(self.column, names)
        known = codes >= 0
        hits = np.zeros((data.n, 1))
        hits[known, 0] = top_k_hits(1, data.similarity(self.prompts)[known], codes[known])
        metric, gap, chance = f"recognition/{data.name}/acc1", f"recognition/{data.name}/attribute_gap", 1 / len(names)
        yield _accuracy(metric, hits[known], data.column(self.groups or self.column)[known], bootstrap, chance)
        groups = find_groups(data, self.groups or self.column, None, options.minimum_group, among=known)
        yield from groups.marks([metric, gap])
        if not groups.names:
            return
        means = bootstrap.means(hits[groups.rows], groups.strata)
        for index, (group, size) in enumerate(zip(groups.names, np.bincount(groups.strata), strict=True)):
            yield means.row(metric, lambda m, g=index: m[..., g, 0], size, group, random=chance)
        if groups.comparable:
            random = chance_of(_gap, hits[groups.rows], groups.strata, bootstrap.seed)
            yield means.row(gap, _gap, groups.n, random=random)


def _accuracy(metric: str, hits: np.ndarray, group: np.ndarray, bootstrap: Bootstrap, chance: float) -> MetricRow:
    """Accuracy over all images, its bootstrap stratified by group, small ones included."""
    _, strata, sizes = np.unique(group, return_inverse=True, return_counts=True)
    return bootstrap.means(hits, strata).row(metric, lambda m: m[..., 0] @ sizes / len(hits), len(hits), random=chance)


def _gap(means: np.ndarray) -> np.ndarray:
    return np.ptp(means[..., 0], axis=-1)
