"""Attribute recognition: how well the perceived attribute itself is seen, and how evenly over its groups.

Reads the attribute's truth column and prompts; yields recognition/<set>/{acc1, attribute_gap}.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap, chance_level, share_row
from evenclip.evaluate.embedded import Columns, EmbeddedSet, as_columns
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import BiasMeasurement, Definition, EvaluateOptions, insufficient
from evenclip.evaluate.ranking import top_k_hits
from evenclip.tables import MetricRow

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
        groups that are large enough, range [0, 1]; its bootstrap is stratified by group.
        """
        names = data.classes(self.prompts).names
        codes = data.codes(self.column, names)
        labelled = codes >= 0
        hits = np.zeros(data.n)
        hits[labelled] = top_k_hits(1, data.similarity(self.prompts)[labelled], codes[labelled])
        metric, gap, chance = f"recognition/{data.name}/acc1", f"recognition/{data.name}/attribute_gap", 1 / len(names)
        if labelled.sum() < options.minimum_group:
            yield insufficient(metric, "all images", int(labelled.sum()))
        else:
            yield share_row(metric, hits[labelled], random=chance)
        groups = find_groups(data, self.groups or self.column, None, options.minimum_group, among=labelled)
        yield from groups.marks([metric, gap])
        for index, group in enumerate(groups.names):
            yield share_row(metric, hits[groups.codes == index], group, chance)
        if groups.comparable:
            seen = hits[groups.rows][:, None]
            random = chance_level(_gap, seen, groups.strata, bootstrap.seed)
            yield bootstrap.means(seen, groups.strata).norm_row(gap, _gap, groups.n, random)


def _gap(means: np.ndarray) -> np.ndarray:
    return np.ptp(means[..., 0], axis=-1)
