"""Association bias of a model: does its zero-shot head see some labels more often in one group than in another?

Reads perceived attributes' truth columns and the prompts of the labels; yields bias/<set>/{ab_max, ab_mean, ab}.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.bias import model_associations
from evenclip.evaluate.bootstrap import Bootstrap, chance_level
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import find_groups
from evenclip.evaluate.measurement import Definition, EvaluateOptions, GroupMeasurement
from evenclip.tables import MetricRow

M4 = "Alabdulmohsin et al. 2024 (M4), arXiv 2403.04547"
AB = "ab_kr = E[f_r | s = k] - E[f_r | s = the others]"


class Association(GroupMeasurement):
    """Model AB between the groups of a perceived attribute and labels."""

    metrics: ClassVar = (
        Definition("bias/ab_max", "largest association of a label with a group", f"max |ab_kr|, {AB}", "[0, 1]",
                   "mean over random deals of the groups", M4),
        Definition("bias/ab_mean", "mean association of labels with groups", f"mean |ab_kr|, {AB}", "[0, 1]",
                   "mean over random deals of the groups", M4),
        Definition("bias/ab", "association of one label (and group) with a sign", AB, "[-1, 1]", "0", M4),
    )  # fmt: skip

    kind: Literal["association"] = "association"
    """Association bias."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """ab_kr = E[f_r | group k] - E[f_r | the other groups], f = the zero-shot distribution over the labels.

        One signed row per label (metric ab): of two groups the first against the second, group = label; of more each
        against the rest, group = "label, value". Over all of them ab_max = max |ab_kr| and ab_mean = mean |ab_kr|,
        range [0, 1] (model AB of M4, arXiv 2403.04547). Groups that are too small are left out and marked. The
        bootstrap is stratified by group. Absolute values and maxima are biased upwards: `random` says what a model
        that does not see the groups comes to; see also `evenclip.evaluate.bootstrap`.
        """
        labels = data.classes(self.prompts).names
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        prefix = f"bias/{data.name}"
        yield from groups.marks([f"{prefix}/ab_max", f"{prefix}/ab_mean"])
        if not groups.comparable:
            return
        strata, seen = groups.strata, data.probabilities(self.prompts)[groups.rows]
        sizes = np.bincount(strata)
        means = bootstrap.means(seen, strata)

        def summary(reduce: str) -> MetricRow:
            def statistic(m: np.ndarray) -> np.ndarray:
                return getattr(np.abs(model_associations(m, sizes)), reduce)(axis=(-2, -1))

            random = chance_level(statistic, seen, strata, bootstrap.seed)
            return means.norm_row(f"{prefix}/ab_{reduce}", statistic, groups.n, random)

        yield summary("max")
        yield summary("mean")
        compared = groups.names if len(groups.names) > 2 else groups.names[:1]
        for k, name in enumerate(compared):
            for r, label in enumerate(labels):
                of = label if len(compared) == 1 else f"{label}, {name}"

                def one_pair(m: np.ndarray, k: int = k, r: int = r) -> np.ndarray:
                    return model_associations(m, sizes)[..., k, r]

                yield means.row(f"{prefix}/ab", one_pair, groups.n, of, random=0.0)
