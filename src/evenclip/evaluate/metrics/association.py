"""Association bias (AB) of a model: how much its zero-shot predictions of a label differ between groups.

Reads the truth columns of perceived attributes and the prompts of the labels; yields bias/<set>/{ab_max, ab_mean, ab}.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.bias import model_associations
from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, Means, chance_level
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
        Definition("bias/ab_per_skill", "association bias at equal knowledge of the labels: that of the model if it "
                   "were mixed with guessing, extrapolated to full knowledge; by `evenclip summarize`",
                   "ab_max / skill, skill = (E[f_y] - 1/R) / (1 - 1/R) of R labels", "[0, inf)",
                   "none", "ours"),
        Definition("bias/ab", "signed association of one label with one group", AB, "[-1, 1]", "0", M4),
    )  # fmt: skip

    kind: Literal["association"] = "association"
    """Association bias."""
    weights: str | None = None
    """Column with the images' weights, e.g. `balance` of `evenclip data annotate`, under which groups and labels of the
    set are independent; null = all count alike."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the attributes and of the weights."""
        return (*super().columns, *([self.weights] if self.weights else []))

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield ab_kr = E[f_r | group k] - E[f_r | the other groups], with f the zero-shot distribution over labels.

        There is one signed row per label (metric ab). With two groups it compares the first with the second and has
        group = label; with more it compares each with the rest and has group = "label, value". Over all of these,
        ab_max = max |ab_kr| and ab_mean = mean |ab_kr|, range [0, 1] (model association bias of M4, Multi-Modal Moment
        Matching, arXiv 2403.04547). Groups that are too small are left out and marked. The bootstrap is stratified by
        group. Absolute values and maxima are biased upwards; `random` is the value for a model that ignores the groups
        (`evenclip.evaluate.bootstrap.chance_level`).

        On a set in which more men than women ride a motorcycle, a model that is always right has an association too.
        With ``weights`` that balance the set, E is the weighted mean, and what remains is the model's.
        """
        labels = data.classes(self.prompts).names
        groups = find_groups(data, self.column, self.values, options.minimum_group)
        prefix = f"bias/{data.name}"
        yield from groups.insufficient_rows([f"{prefix}/ab_max", f"{prefix}/ab_mean"])
        if not groups.comparable:
            return
        strata, probabilities = groups.strata, data.probabilities(self.prompts)[groups.rows]
        sizes, means_of = np.bincount(strata), _plain_means
        if self.weights:
            weights = self._weights(data)[groups.rows]
            sizes, means_of = np.bincount(strata, weights), _weighted_means
            if not sizes.all():
                raise InputError("a group has no weight", f"{data.where}, column {self.weights}", "balance it again")
            probabilities = np.column_stack([weights[:, None] * probabilities, weights])
        means = bootstrap.means(probabilities, strata)
        means = Means(means_of(means.point), means_of(means.replicates))

        def summary(reduce: str) -> MetricRow:
            def statistic(m: np.ndarray) -> np.ndarray:
                return getattr(np.abs(model_associations(m, sizes)), reduce)(axis=(-2, -1))

            random = chance_level(lambda m: statistic(means_of(m)), probabilities, strata, bootstrap.seed)
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

    def _weights(self, data: EmbeddedSet) -> np.ndarray:
        """Weight of each image, shape (n,)."""
        try:
            weights = np.array([float(value or 0) for value in data.truth[self.weights]])
        except ValueError as error:
            raise InputError(str(error), f"{data.where}, column {self.weights}", "write numbers") from None
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise InputError("a weight is negative or not finite", f"{data.where}, column {self.weights}", "mend it")
        return weights


def _plain_means(means: np.ndarray) -> np.ndarray:
    return means


def _weighted_means(means: np.ndarray) -> np.ndarray:
    """Weighted means, shape (..., n_values), from the means of w f and, last, of w, shape (..., n_values + 1)."""
    with np.errstate(invalid="ignore"):
        return means[..., :-1] / means[..., -1:]
