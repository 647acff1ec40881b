"""Calibration sets: annotated rows that a classifier labelled too, which say how often it perceives which group.

They are tables with the columns `attribute` (with its side, e.g. `image.gender`), `truth` (a value of the attribute, or
`nobody`) and `perceived` (the same, or `abstains`). `evenclip label` writes one beside its labels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.balance.table.delimited import is_delimited, read_delimited
from evenclip.balance.table.source import as_table
from evenclip.errors import InputError
from evenclip.label_columns import ABSTAINS, NOBODY
from evenclip.tables import read_table

COLUMNS = ("attribute", "truth", "perceived")
MIN_CALIBRATED = 30  # annotated rows that each group needs
MAX_CONDITION = 100.0  # errors of counts are multiplied by up to this
TOLD_APART = 0.01  # p value below which two groups are perceived differently


@dataclass(frozen=True)
class Confusion:
    """How often each true group of an attribute was perceived as which, in a calibration set.

    Attributes
    ----------
    attribute : str
        With its side, e.g. ``image.gender``.
    truths, perceived : tuple of str
        Values of the attribute, `nobody`, and `abstains` (perceived only).
    count : numpy.ndarray, shape (n_perceived, n_truths), int
    """

    attribute: str
    truths: tuple[str, ...]
    perceived: tuple[str, ...]
    count: np.ndarray

    @classmethod
    def of(cls, attribute: str, truth: Sequence[str], perceived: Sequence[str]) -> Self:
        """Count the rows of a calibration set."""
        truths, t = np.unique(truth, return_inverse=True)
        kinds, p = np.unique(perceived, return_inverse=True)
        count = np.zeros((len(kinds), len(truths)), int)
        np.add.at(count, (p, t), 1)
        return cls(attribute, tuple(map(str, truths)), tuple(map(str, kinds)), count)

    @property
    def abstentions(self) -> int:
        """Rows on which the classifier abstained."""
        return int(self.count[self.perceived.index(ABSTAINS)].sum()) if ABSTAINS in self.perceived else 0

    @property
    def right(self) -> int:
        """Rows that were perceived as what they are."""
        both = set(self.perceived) & set(self.truths)
        return int(sum(self.count[self.perceived.index(value), self.truths.index(value)] for value in both))

    def undefined(self, groups: Sequence[str], perceived: Sequence[str]) -> str | None:
        """Why nothing can be corrected; None if it can.

        Parameters
        ----------
        groups : sequence of str
            Values of the attribute that the audit compares.
        perceived : sequence of str
            What the classifier perceived in the audited rows.
        """
        from scipy.stats import chi2_contingency  # slow to import, and of use to audits with a calibration set alone

        counts = dict(zip(self.truths, self.count.sum(axis=0), strict=True))
        if few := [value for value in groups if counts.get(value, 0) < MIN_CALIBRATED]:
            return f"{counts.get(few[0], 0)} calibrated rows are truly '{few[0]}', {MIN_CALIBRATED} are needed"
        if strange := [value for value in perceived if value not in self.perceived]:
            return f"no calibrated row is perceived as '{strange[0]}'"
        for i, first in enumerate(self.truths):
            for j, second in enumerate(self.truths[:i]):
                pair = self.count[:, [i, j]]
                p = chi2_contingency(pair[pair.any(axis=1)]).pvalue
                if p > TOLD_APART:
                    return f"the calibration does not show that '{second}' is told from '{first}' (p = {p:.2g})"
        if np.linalg.cond(self.count / self.count.sum(axis=0)) > MAX_CONDITION:
            return "the confusion matrix is singular: true groups cannot be told apart by what is perceived"
        return None

    def draw(self, rng: np.random.Generator, n_draws: int) -> np.ndarray:
        """Bootstrap draws of P(perceived | truth), shape (n_draws, n_perceived, n_truths): each group's rows anew."""
        totals = self.count.sum(axis=0)
        drawn = [rng.multinomial(n, self.count[:, s] / n, size=n_draws) / n for s, n in enumerate(totals)]
        return np.stack(drawn, axis=-1)


def read_calibration(table: Any) -> list[Confusion]:
    """Read a calibration set: a row for each annotated row, with `attribute`, `truth` and `perceived`.

    Parameters
    ----------
    table : path or table
        Parquet, CSV or TSV. `truth` is a value of the attribute or `nobody`, `perceived` the same or `abstains`.

    Raises
    ------
    InputError
        A column is missing or has missing values, or there is no row.
    """
    where = str(table) if isinstance(table, str | os.PathLike) else "the calibration set"
    if not isinstance(table, str | os.PathLike):
        rows = as_table(table)
    elif is_delimited(Path(table)):
        rows = read_delimited(Path(table), COLUMNS)
    else:
        rows = read_table(table)
    if missing := [name for name in COLUMNS if name not in rows.column_names]:
        raise InputError(f"column {missing[0]} is missing", where, f"give it the columns {', '.join(COLUMNS)}")
    if not len(rows):
        raise InputError("the calibration set has no rows", where, "annotate some rows")
    texts = {name: rows.column(name).cast(pa.string()).combine_chunks() for name in COLUMNS}
    for name, values in texts.items():
        if values.null_count or pc.any(pc.equal(values, "")).as_py():
            raise InputError(
                f"column {name} has empty values", where, f"write '{NOBODY}', or '{ABSTAINS}' if perceived"
            )
    if pc.any(pc.equal(texts["truth"], ABSTAINS)).as_py():
        raise InputError(
            f"'{ABSTAINS}' is no truth", f"{where}, column truth", "leave out rows that nobody could judge"
        )
    attribute, truth, perceived = (np.array(texts[name].to_pylist()) for name in COLUMNS)
    chosen = {name: attribute == name for name in dict.fromkeys(attribute.tolist())}
    return [Confusion.of(name, truth[rows], perceived[rows]) for name, rows in chosen.items()]
