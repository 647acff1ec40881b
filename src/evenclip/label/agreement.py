"""Agreement of two labellings of an attribute: by text and by image, or one of them and the annotated truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import cohen_kappa_score

from evenclip.intervals import wilson_interval


@dataclass(frozen=True)
class Side:
    """Labels of an attribute from one source.

    ``labels`` (n, k) bool for the k values; ``is_labelled`` (n,) bool: the source does not abstain. Text never
    abstains, but may name nobody.
    """

    labels: np.ndarray
    is_labelled: np.ndarray

    @property
    def single(self) -> np.ndarray:
        """Rows with exactly one value, shape (n,) bool."""
        return self.is_labelled & (self.labels.sum(axis=1) == 1)


def agreement(reference: Side, other: Side, values: tuple[str, ...]) -> dict[str, Any]:
    """Compare two sides over the rows where both have exactly one value.

    Other rows are only counted: two people in one picture are no disagreement.

    Returns
    -------
    dict
        ``n`` compared, ``n_reference_only`` and ``n_other_only`` (the other side has no value or several, or abstains),
        ``accuracy``, Cohen's ``kappa`` [1]_ over all values, and for each value ``precision`` and ``recall`` of
        ``other``, with Wilson 95 % intervals, and its ``kappa``.

    References
    ----------
    .. [1] Cohen, "A coefficient of agreement for nominal scales", 1960.
    """
    both = reference.single & other.single
    expected, given = reference.labels[both], other.labels[both]
    hits = (expected & given).sum(axis=0)
    return {
        "n": int(both.sum()),
        "n_reference_only": int((reference.single & ~other.single).sum()),
        "n_other_only": int((other.single & ~reference.single).sum()),
        "accuracy": share_with_interval(int(hits.sum()), int(both.sum())),
        "kappa": _kappa(expected.argmax(axis=1), given.argmax(axis=1)),
        "by_value": {
            value: {
                "precision": share_with_interval(int(hits[k]), int(given[:, k].sum())),
                "recall": share_with_interval(int(hits[k]), int(expected[:, k].sum())),
                "kappa": _kappa(expected[:, k], given[:, k]),
            }
            for k, value in enumerate(values)
        },
    }


def compare_sides(
    by_text: Mapping[str, np.ndarray],
    by_image: Mapping[str, np.ndarray],
    is_labelled: np.ndarray,
    pairs: pa.Table,
    attribute: str,
) -> dict[str, Any]:
    """Agreement of text, image and, where the data folder has a column of the attribute, the annotated truth.

    Parameters
    ----------
    by_text, by_image : mapping of str to ndarray of bool, shape (n,)
        Labels by value; no value of an attribute that the lexicon lacks.
    is_labelled : ndarray of bool, shape (n,)
        Where the image side does not abstain.
    pairs : Table
        n rows.
    attribute : str
    """
    values = tuple(by_text or by_image)
    always = np.ones(len(pairs), dtype=bool)
    sides = {"image": Side(np.column_stack([by_image[value] for value in values]), is_labelled)}
    agreements: dict[str, Any] = {}
    if by_text:
        sides["text"] = Side(np.column_stack([by_text[value] for value in values]), always)
        agreements["image_against_text"] = agreement(sides["text"], sides["image"], values)
    if attribute in pairs.column_names:
        annotated = np.array(pc.fill_null(pairs.column(attribute).cast("string"), "").to_pylist())
        truth = Side(annotated[:, None] == np.array(values), always)
        agreements |= {f"{name}_against_truth": agreement(truth, side, values) for name, side in sides.items()}
    return agreements


def _kappa(first: np.ndarray, second: np.ndarray) -> float | None:
    """Cohen's kappa; None where it is undefined, because both have one and the same value throughout."""
    if len(first) == 0 or (len(np.unique(np.concatenate([first, second]))) == 1):
        return None
    return float(cohen_kappa_score(first, second))


def share_with_interval(hits: int, n: int) -> dict[str, float | int | None]:
    """A share with its Wilson 95 % interval, and the number it is of; None where that is 0."""
    if n == 0:
        return {"value": None, "ci_low": None, "ci_high": None, "n": 0}
    low, high = wilson_interval(hits / n, n)
    return {"value": hits / n, "ci_low": low, "ci_high": high, "n": n}
