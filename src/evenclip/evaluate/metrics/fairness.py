"""Group fairness of zero-shot classification: accuracy by group, demographic parity, equal opportunity, equalized odds.

Reads the truth columns of the classes and of perceived attributes, and the prompts of the classes; yields
bias/<set>/{worst_group_accuracy, group_accuracy, accuracy_gap, demographic_parity_difference,
equal_opportunity_difference, equalized_odds_difference}.
The values equal those of fairlearn's MetricFrame, as the tests check. They are computed here from the same means as
the intervals, because fairlearn's bootstrap is not vectorised and loses small groups.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap, chance_level, share_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.groups import Groups, find_groups
from evenclip.evaluate.measurement import Definition, EvaluateOptions, GroupMeasurement
from evenclip.evaluate.ranking import top_k_hits
from evenclip.tables import MetricRow

FAIRLEARN = "fairlearn (Weerts et al. 2023), arXiv 2303.16626"
METRICS = (
    "worst_group_accuracy", "accuracy_gap", "demographic_parity_difference", "equal_opportunity_difference",
    "equalized_odds_difference",
)  # fmt: skip


class Fairness(GroupMeasurement):
    """Group fairness of the zero-shot classification of a truth column."""

    metrics: ClassVar = (
        Definition("bias/worst_group_accuracy", "accuracy of the group with the lowest accuracy", "min_g P(y' = y | g)",
                   "[0, 1]", "mean over permuted group labels",
                   "Sagawa et al. 2020, arXiv 1911.08731; " + FAIRLEARN),
        Definition("bias/group_accuracy", "accuracy in one group", "P(y' = y | g)", "[0, 1]", "accuracy in all groups",
                   FAIRLEARN),
        Definition("bias/accuracy_gap", "largest difference of accuracy between groups",
                   "max_g P(y' = y | g) - min_g P(y' = y | g)", "[0, 1]", "mean over permuted group labels", FAIRLEARN),
        Definition("bias/demographic_parity_difference", "largest difference between groups in how often a class "
                   "is predicted", "max_c (max_g P(y' = c | g) - min_g P(y' = c | g))", "[0, 1]",
                   "mean over permuted group labels", FAIRLEARN),
        Definition("bias/equal_opportunity_difference", "largest difference between groups in the recall of a class",
                   "max_c (max_g P(y' = c | y = c, g) - min_g P(y' = c | y = c, g))", "[0, 1]",
                   "mean over permuted group labels", "Hardt et al. 2016, arXiv 1610.02413; " + FAIRLEARN),
        Definition("bias/equalized_odds_difference", "largest difference between groups in the recall of a class, or "
                   "in how often it is predicted for images of other classes",
                   "max_c max(D P(y' = c | y = c, g), D P(y' = c | y != c, g)), D = max_g - min_g", "[0, 1]",
                   "mean over permuted group labels", "Hardt et al. 2016, arXiv 1610.02413; " + FAIRLEARN),
    )  # fmt: skip

    kind: Literal["fairness"] = "fairness"
    """Group fairness of zero-shot classification."""
    target: str
    """Truth column with the class of each image."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the classes and of the attributes."""
        return (self.target, *super().columns)

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield the accuracy of each group and of the worst, its gap, and differences of parity, opportunity and odds.

        All are in [0, 1]. The differences are multi-class: the largest over the classes. Groups that are too small are
        left out and marked. For equal opportunity and equalized odds a group counts for a class if it has enough
        images OF that class, and a class counts if at least two groups do; without such a class the metrics are
        marked. Tied classes are predicted in equal parts. The bootstrap is stratified by group (and class). `random`
        is the value for a model that is right as often but ignores the groups. None of the metrics implies another,
        and opportunity and odds assume that the labels are right.
        """
        codes = data.codes(self.target, data.classes(self.prompts).names)
        groups = find_groups(data, self.column, self.values, options.minimum_group, among=codes >= 0)
        worst, gap, parity, opportunity, odds = metrics = [f"bias/{data.name}/{metric}" for metric in METRICS]
        yield from groups.insufficient_rows(metrics)
        if not groups.comparable:
            return
        rows, strata = groups.rows, groups.strata
        hits = top_k_hits(1, data.similarity(self.prompts)[rows], codes[rows])[:, None]
        choices = data.choices(self.prompts)[rows]
        yield _worst(worst, hits, strata, bootstrap)
        for code, name in enumerate(groups.names):
            yield share_row(f"bias/{data.name}/group_accuracy", hits[strata == code, 0], name, float(hits.mean()))
        random = chance_level(_largest_difference, hits, strata, bootstrap.seed)
        yield bootstrap.means(hits, strata).norm_row(gap, _largest_difference, groups.n, random)
        random = chance_level(_largest_difference, choices, strata, bootstrap.seed)
        yield bootstrap.means(choices, strata).norm_row(parity, _largest_difference, groups.n, random)
        yield _opportunity(opportunity, hits, codes[rows], groups, bootstrap, options.minimum_group)
        yield _odds(odds, choices, codes[rows], groups, bootstrap, options.minimum_group)


def _worst(metric: str, hits: np.ndarray, strata: np.ndarray, bootstrap: Bootstrap) -> MetricRow:
    """Accuracy of the worst group, as 1 - the largest error rate, which is a norm."""
    random = 1 - chance_level(_largest, 1 - hits, strata, bootstrap.seed)
    row = bootstrap.means(1 - hits, strata).norm_row(metric, _largest, len(hits))
    return replace(row, value=1 - row.value, ci_low=1 - row.ci_high, ci_high=1 - row.ci_low, random=random)


def _opportunity(
    metric: str, hits: np.ndarray, codes: np.ndarray, groups: Groups, bootstrap: Bootstrap, minimum: int
) -> MetricRow:
    """Equal opportunity difference over the classes for which at least two groups have enough images.

    The strata are the groups of each such class. For the chance level, group labels are permuted within classes.
    """
    cells, tested = _tested_cells(codes, groups, minimum)
    if not len(tested):
        return MetricRow(metric, None, None, None, len(codes), "all classes (insufficient)")
    rows = np.isin(cells, tested)
    strata, codes, hits = np.searchsorted(tested, cells[rows]), codes[rows], hits[rows]
    starts = np.flatnonzero(np.diff(tested // len(groups.names), prepend=-1))  # first group of each class

    def largest(m: np.ndarray) -> np.ndarray:
        high, low = (reduce.reduceat(m[..., 0], starts, axis=-1) for reduce in (np.maximum, np.minimum))
        return (high - low).max(axis=-1)

    random = chance_level(largest, hits, strata, bootstrap.seed, blocks=codes)
    return bootstrap.means(hits, strata).norm_row(metric, largest, len(hits), random)


def _odds(
    metric: str, choices: np.ndarray, codes: np.ndarray, groups: Groups, bootstrap: Bootstrap, minimum: int
) -> MetricRow:
    """Equalized odds difference, over the classes and strata of `_opportunity`.

    ``choices``, shape (n, n_classes): share of each class in an image's prediction.
    """
    cells, tested = _tested_cells(codes, groups, minimum)
    if not len(tested):
        return MetricRow(metric, None, None, None, len(codes), "all classes (insufficient)")
    rows = np.isin(cells, tested)
    strata, choices, codes = np.searchsorted(tested, cells[rows]), choices[rows], codes[rows]
    true_class, group = tested // len(groups.names), tested % len(groups.names)
    sizes = np.bincount(strata)

    def largest(m: np.ndarray) -> np.ndarray:
        differences = []
        for c in np.unique(true_class):
            own, predicted = true_class == c, m[..., c]
            differences.append(np.ptp(predicted[..., own], axis=-1))
            of_groups = [~own & (group == g) for g in np.unique(group)]
            rates = [predicted[..., cell] @ sizes[cell] / sizes[cell].sum() for cell in of_groups if cell.any()]
            if len(rates) > 1:
                differences.append(np.ptp(np.stack(rates), axis=0))
        return np.max(differences, axis=0)

    random = chance_level(largest, choices, strata, bootstrap.seed, blocks=codes)
    return bootstrap.means(choices, strata).norm_row(metric, largest, len(choices), random)


def _tested_cells(codes: np.ndarray, groups: Groups, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """Cell of each image (class * n_groups + group) and the large cells of classes that at least two groups have."""
    cells = codes * len(groups.names) + groups.strata
    tested, sizes = np.unique(cells, return_counts=True)
    tested = tested[sizes >= minimum]
    classes, n_groups = np.unique(tested // len(groups.names), return_counts=True)
    return cells, tested[np.isin(tested // len(groups.names), classes[n_groups > 1])]


def _largest(means: np.ndarray) -> np.ndarray:
    return np.abs(means[..., 0]).max(axis=-1)


def _largest_difference(means: np.ndarray) -> np.ndarray:
    return np.ptp(means, axis=-2).max(axis=-1)
