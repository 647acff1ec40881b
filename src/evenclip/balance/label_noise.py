"""Correction of an audit for a classifier that errs and abstains: the matrix method.

A classifier that reads groups off images confuses some and abstains on others, so that the association bias (AB) of its
labels is nearer to 0 than that of the groups themselves. Where annotated rows say how often it perceives which group
(the calibration set), the counts can be corrected.

Let C[w, s] = P(perceived w | truly s), abstention being one of the w. If errors do not depend on the labels, the rows
with label y satisfy n(w, y) = sum_s C[w, s] n(s, y), which is solved for n(s, y) by least squares [1]_ [2]_. Weights
depend on what was perceived; so the mass of group s under weights is sum_w m(w, y) P(s | w, y), with m the weighted
counts and P(s | w, y) from C and n(s, y) by Bayes' rule. Balanced labels are therefore not taken for balanced groups.
It is computed separately for rows with and without each label, and for rows that agree in the other attributes.

References
----------
.. [1] Barron, "The effects of misclassification on the estimation of relative risk", Biometrics 33, 1977.
.. [2] Chen, Kallus, Mao, Svacha and Udell, "Fairness under unawareness: assessing disparity when protected class is
   unobserved", FAT* 2019, arXiv 1811.11154.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from evenclip.balance.calibration import Confusion
from evenclip.balance.table.cells import Cells
from evenclip.bias import Bias, Contrast
from evenclip.errors import InputError
from evenclip.intervals import wilson_interval
from evenclip.label_columns import ABSTAINS, NOBODY, LabelColumn

MIN_STRATUM = 100  # rows that a stratum needs to stand alone


class CorrectedMeasure:
    """Bias of the contrasts of one attribute, corrected for its confusion.

    Parameters
    ----------
    confusion : Confusion
    cells : Cells
        The audited rows.
    contrasts : list of Contrast
        All of the audit; those of other attributes are not counted.
    owner : numpy.ndarray, shape (n_units,)
        Cell of each unit: cells are split by weight.
    count : numpy.ndarray, shape (n_units,)
        Rows of each unit.
    enough : numpy.ndarray, shape (K,), bool
        Contrasts with enough rows.

    Attributes
    ----------
    reason : str or None
        Why the correction is undefined.
    n, n_abstains : int
        Audited rows, and those on which the classifier abstained.
    """

    def __init__(
        self, confusion: Confusion, cells: Cells, contrasts: list[Contrast], owner: np.ndarray, count: np.ndarray,
        enough: np.ndarray,
    ):  # fmt: skip
        self.confusion = confusion
        columns = [LabelColumn.parse(column) for column in cells.columns.sensitive]
        own = {column.value: column.column for column in columns if column.attribute == confusion.attribute}
        if not own:
            have = ", ".join(dict.fromkeys(column.attribute for column in columns))
            raise InputError(f"no attribute '{confusion.attribute}' in the table", "calibration", f"it has: {have}")
        value = _perceived(cells, own, confusion.attribute)
        abstains = value == ABSTAINS
        self.n, self.n_abstains = cells.n, int(cells.count[abstains].sum())
        given = np.unique(value[~abstains]).tolist()
        self.reason = confusion.undefined(list(own), given)
        names = {f"{confusion.attribute}.{name}": name for name in own}
        own_contrast = np.array([contrast.name in names for contrast in contrasts])
        self.counted = own_contrast & enough & (self.reason is None)
        self._target = np.array([contrast.target for contrast in contrasts])
        self._n_labels = len(cells.columns.target)
        self._rows = count
        if self.reason is None:
            self._sides = [_sides(contrast, names, confusion.truths) for contrast in contrasts]
            position = {name: i for i, name in enumerate(confusion.perceived)}
            # rows that nobody labelled are left out, where the classifier of the calibration set never abstained
            perceived = np.array([position.get(name, -1) for name in value])
            strata, self._table = _strata(cells, own)
            self._features = _indicator(strata[:, owner], perceived[owner], len(self._table), len(position))

    def point(self, weights: Mapping[str, np.ndarray]) -> dict[str, Bias]:
        """Bias at each stage, with a leading axis of length 1; ``weights``: weight of each unit by stage."""
        matrix = (self.confusion.count / self.confusion.count.sum(axis=0))[None]
        return self(self._rows[None, :].astype(float), weights, matrix)

    def __call__(self, count: np.ndarray, weights: Mapping[str, np.ndarray], matrix: np.ndarray) -> dict[str, Bias]:
        """Bias of each draw at each stage.

        Parameters
        ----------
        count : numpy.ndarray, shape (n_draws, n_units)
            Rows of each unit.
        weights : mapping of str to numpy.ndarray, shape (n_units,)
        matrix : numpy.ndarray, shape (n_draws, n_perceived, n_truths)
            P(perceived | truth).
        """
        if self.reason is not None:
            return dict.fromkeys(weights, self._undefined(len(count)))
        rows = self._masses(count)
        true_rows = np.einsum("dsp,dtp->dts", np.linalg.pinv(matrix), rows)
        stages = {}
        for stage, weight in weights.items():
            mass = true_rows if stage == "before" else _posterior(matrix, true_rows, self._masses(count * weight))
            stages[stage] = self._bias(mass)
        return stages

    def _masses(self, weight: np.ndarray) -> np.ndarray:
        """Shape (n_draws, n_strata, n_perceived)."""
        return (self._features @ weight.T).T.reshape(len(weight), len(self._table), -1)

    def _bias(self, mass: np.ndarray) -> Bias:
        """Bias of the masses of true groups in all strata, shape (n_draws, n_strata, n_truths)."""
        bias = self._undefined(len(mass))
        share, association = bias.share, bias.association
        with_label, without = slice(1, 1 + self._n_labels), slice(1 + self._n_labels, None)
        sums = np.einsum("dts,tg->dgs", mass, self._table)  # by label: all rows, with it, without it
        with np.errstate(invalid="ignore", divide="ignore"):
            for k in np.flatnonzero(self.counted):
                inside, outside = (sums[..., side].sum(axis=-1) for side in self._sides[k])
                share[:, k] = _ratio(inside[:, 0], inside[:, 0] + outside[:, 0])
                rates = [_ratio(s[:, with_label], s[:, with_label] + s[:, without]) for s in (inside, outside)]
                association[:, k] = rates[0] - rates[1]
        return bias

    def _undefined(self, n_draws: int) -> Bias:
        """No measurement of any contrast."""
        share = np.full((n_draws, len(self._target)), np.nan)
        association = np.full((*share.shape, self._n_labels), np.nan)
        return Bias(share, association, self._target, self.counted)

    def describe(self) -> dict[str, Any]:
        """Size and quality of the calibration set, and how often the classifier abstains there and here."""
        count = self.confusion
        n, answers = int(count.count.sum()), int(count.count.sum()) - count.abstentions
        low, high = wilson_interval(count.right / answers, answers) if answers else (None, None)
        return {
            "attribute": count.attribute,
            "n_calibrated": n,
            "accuracy": {"value": count.right / answers if answers else None, "ci_low": low, "ci_high": high},
            "abstains_in_calibration": count.abstentions / n,
            "abstains": self.n_abstains / self.n,
            "undefined": self.reason,
        }


def _perceived(cells: Cells, columns: Mapping[str, str], attribute: str) -> np.ndarray:
    """What was perceived in each cell, shape (n_cells,) str: a value, nobody, or that the classifier abstains."""
    flags = np.column_stack([cells.value(column) for column in columns.values()])
    all_known = np.column_stack([cells.is_known(column) for column in columns.values()]).all(axis=1)
    if (flags.sum(axis=1) > 1).any():
        what = f"rows show several values of '{attribute}', which a classifier of one value per row never says"
        raise InputError(what, "calibration", "leave this attribute out of the calibration set")
    names = np.array([*columns, NOBODY], dtype=object)
    value = names[np.where(flags.any(axis=1), flags.argmax(axis=1), len(columns))]
    return np.where(all_known, value, ABSTAINS)


def _sides(contrast: Contrast, names: Mapping[str, str], truths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True groups inside and outside a contrast, each shape (n_truths,) bool."""
    truth = np.array(truths)
    inside = truth == names.get(contrast.name)
    return inside, truth == names.get(contrast.outside_name) if contrast.coding == "signed" else ~inside


def _strata(cells: Cells, own: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Strata within which weights are taken not to depend on the true group, given the perceived one.

    Returns
    -------
    stratum : numpy.ndarray, shape (1 + R, n_cells), int
        For the shares of groups, by labels and other attributes; for each of the R labels, by it and other attributes.
    table : numpy.ndarray, shape (n_strata, 1 + 2 R)
        Which strata make up all rows, the rows with each label, and those without.
    """
    others = [c for c in cells.columns.sensitive if c not in own.values()]
    other = _pooled([bits(column) for column in others for bits in (cells.value, cells.is_known)], cells.count)
    labels = [cells.value(column) for column in cells.columns.target]
    numbers = [_pooled([other, *labels], cells.count)]
    numbers += [2 * other + flag for flag in labels]
    sizes = np.array([number.max() + 1 for number in numbers])
    start = np.concatenate([[0], np.cumsum(sizes)])
    table = np.zeros((start[-1], 1 + 2 * len(labels)))
    table[: start[1], 0] = 1
    for r in range(len(labels)):
        table[start[r + 1] : start[r + 2], [1 + len(labels) + r]] = 1
        table[start[r + 1] + 1 : start[r + 2] : 2] = np.eye(1, table.shape[1], 1 + r)
    return np.stack(numbers) + start[:-1, None], table


def _pooled(columns: Sequence[np.ndarray], count: np.ndarray) -> np.ndarray:
    """Number of each cell's pattern of values, shape (n_cells,); patterns with few rows share the number 0."""
    if not columns:
        return np.zeros(len(count), int)
    _, pattern = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
    pattern = pattern.ravel()
    is_large = np.bincount(pattern, count) >= MIN_STRATUM
    return np.where(is_large, np.cumsum(is_large), 0)[pattern]


def _indicator(strata: np.ndarray, perceived: np.ndarray, n_strata: int, n_perceived: int) -> sparse.csr_array:
    """Shape (n_strata n_perceived, n_units): adds up units by stratum and by what was perceived."""
    table, unit = np.nonzero(np.broadcast_to(perceived >= 0, strata.shape))
    row = strata[table, unit] * n_perceived + perceived[unit]
    shape = (n_strata * n_perceived, strata.shape[1])
    return sparse.coo_array((np.ones(len(row)), (row, unit)), shape=shape).tocsr()


def _posterior(matrix: np.ndarray, true_rows: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Mass of each true group, shape (n_draws, n_strata, n_truths), from the mass of what was perceived."""
    joint = matrix[:, None] * np.maximum(true_rows, 0)[:, :, None]
    total = joint.sum(axis=-1, keepdims=True)
    # where no true group explains what was perceived, all are as likely beforehand
    joint = np.where(total > 0, joint, matrix[:, None])
    total = np.maximum(joint.sum(axis=-1, keepdims=True), 1e-300)
    return np.einsum("dtp,dtps->dts", mass, joint / total)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A share, clipped to [0, 1]; undefined where there is nothing to divide by."""
    return np.where(whole > 0, np.clip(part / whole, 0, 1), np.nan)
