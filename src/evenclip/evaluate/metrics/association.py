"""Association bias (AB) of a model: how much its zero-shot predictions of a label differ between groups.

Reads the truth columns of perceived attributes and the prompts of the labels; yields bias/<set>/{ab_max, ab_mean, ab}.
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
    """Model association bias between the groups of a perceived attribute and labels."""

    metrics: ClassVar = (
        Definition("bias/ab_max", "association bias: largest association of a label with a group", f"max |ab_kr|, {AB}",
                   "[0, 1]",
                   "mean over permuted group labels", M4),
        Definition("bias/ab_mean", "mean absolute association of labels with groups", f"mean |ab_kr|, {AB}", "[0, 1]",
                   "mean over permuted group labels", M4),
        Definition("bias/ab", "signed association of one label with one group", AB, "[-1, 1]", "0", M4),
    )  # fmt: skip

    kind: Literal["association"] = "association"
    """Association bias."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield ab_kr = E[f_r | group k] - E[f_r | the other groups], with f the zero-shot distribution over labels.

        There is one signed row per label (metric ab). With two groups it compares the first with the second and has
        group = label; with more it compares each with the rest and has group = "label, value". Over all of these,
        ab_max = max |ab_kr| and ab_mean = mean |ab_kr|, range [0, 1] (model association bias of M4, Multi-Modal Moment
        Matching, arXiv 2403.04547). Groups that are too small are left out and marked. The bootstrap is stratified by
        group. Absolute values and maxima are biased upwards; `random` is the value for a model that ignores the groups
        (`evenclip.evaluate.bootstrap.chance_level`).
        """
        labels = data.classes(self.prompts).names
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        prefix = f"bias/{data.name}"
        yield from groups.insufficient_rows([f"{prefix}/ab_max", f"{prefix}/ab_mean"])
        if not groups.comparable:
            return
        strata, probabilities = groups.strata, data.probabilities(self.prompts)[groups.rows]
        sizes = np.bincount(strata)
        means = bootstrap.means(probabilities, strata)

        def summary(reduce: str) -> MetricRow:
            def statistic(m: np.ndarray) -> np.ndarray:
                return getattr(np.abs(model_associations(m, sizes)), reduce)(axis=(-2, -1))

            random = chance_level(statistic, probabilities, strata, bootstrap.seed)
            return means.norm_row(f"{prefix}/ab_{reduce}", statistic, groups.n, random)

        yield summary("max")
        yield summary("mean")
        compared = groups.names if len(groups.names) > 2 else groups.names[:1]
        for k, name in enumerate(compared):
            for r, label in enumerate(labels):
                pair = label if len(compared) == 1 else f"{label}, {name}"

                def signed(m: np.ndarray, k: int = k, r: int = r) -> np.ndarray:
                    return model_associations(m, sizes)[..., k, r]

                yield means.row(f"{prefix}/ab", signed, groups.n, pair, random=0.0)
