"""Attribute recognition: how well the perceived attribute itself is seen, and how evenly over its groups.

Reads the attribute's truth column and prompts; yields recognition/<set>/{acc1, attribute_gap}.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.hits import top_k_hits
from evenclip.evaluate.measurement import EvaluateOptions, Measurement, insufficient, small_groups
from evenclip.records import MetricRow


class Recognition(Measurement):
    """Zero-shot recognition of a perceived attribute."""

    kind: Literal["recognition"] = "recognition"
    """Recognition of the perceived attribute."""
    column: str
    """Truth column with the perceived attribute."""
    prompts: str
    """Stem of the prompt file with the attribute's values."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The attribute's column."""
        return (self.column,)

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Zero-shot accuracy over all images with a value (group ''), in each group, and the largest difference.

        acc1 of a group is its recall. attribute_gap = highest minus lowest accuracy of the groups that occur, range
        [0, 1]; it is given only where all of them are large enough. The bootstrap is stratified by group.
        """
        names = data.classes(self.prompts).names
        codes = data.codes(self.column, names)
        rows = codes >= 0
        present, strata = np.unique(codes[rows], return_inverse=True)
        groups = [names[code] for code in present]
        sizes = np.bincount(strata)
        n = int(sizes.sum())
        means = bootstrap.means(top_k_hits(1, data.similarity(self.prompts)[rows], codes[rows])[:, None], strata)
        metric, gap, chance = f"recognition/{data.name}/acc1", f"recognition/{data.name}/attribute_gap", 1 / len(names)
        yield means.row(metric, lambda m: m[..., 0] @ sizes / n, n, random=chance)
        small = small_groups(strata, groups, options.minimum_group)
        for index, group in enumerate(groups):
            if group in small:
                yield insufficient(metric, group, small[group])
            else:
                yield means.row(metric, lambda m, g=index: m[..., g, 0], sizes[index], group, random=chance)
        if small:
            yield from (insufficient(gap, group, size) for group, size in small.items())
        elif len(groups) > 1:
            yield means.row(gap, lambda m: np.ptp(m[..., 0], axis=-1), n)
