"""Attribute recognition: zero-shot accuracy of the perceived attribute itself, overall and by group.

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
        Definition("recognition/acc1", "share of images whose perceived attribute is recognised, overall and by group",
                   "P(argmax_k f_k(x) = s(x))", "[0, 1]", "1 / number of values", M4),
        Definition("recognition/attribute_gap", "accuracy of the best recognised group minus that of the worst",
                   "max_g acc1_g - min_g acc1_g", "[0, 1]", "mean over permuted group labels", "ours"),
    )  # fmt: skip

    kind: Literal["recognition"] = "recognition"
    """Recognition of the perceived attribute."""
    column: str
    """Truth column with the perceived attribute."""
    groups: Columns | None = None
    """Truth columns that define the groups, e.g. [gender, race]; default: the attribute itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the attribute and of the groups."""
        return (self.column, *as_columns(self.groups or ()))

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield zero-shot accuracy over all labelled images (group ''), in each group, and the largest difference.

        For groups of the attribute itself, acc1 is recall. attribute_gap is the highest minus the lowest accuracy of
        the groups that are large enough, in [0, 1]; its bootstrap is stratified by group.
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
        yield from groups.insufficient_rows([metric, gap])
        for index, group in enumerate(groups.names):
            yield share_row(metric, hits[groups.codes == index], group, chance)
        if groups.comparable:
            group_hits = hits[groups.rows][:, None]
            random = chance_level(_gap, group_hits, groups.strata, bootstrap.seed)
            yield bootstrap.means(group_hits, groups.strata).norm_row(gap, _gap, groups.n, random)


def _gap(means: np.ndarray) -> np.ndarray:
    return np.ptp(means[..., 0], axis=-1)
