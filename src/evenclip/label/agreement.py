"""Do two sources of the same attribute agree: text and image, or either with what annotators wrote?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from evenclip.intervals import wilson_interval


@dataclass(frozen=True)
class Side:
    """One source's labels of an attribute.

    ``labels`` (n, k) bool for the k values; ``speaks`` (n,) bool: the row is labelled at all (text always speaks, but
    may name nobody).
    """

    labels: np.ndarray
    speaks: np.ndarray

    @property
    def single(self) -> np.ndarray:
        """Rows with exactly one value, shape (n,) bool."""
        return self.speaks & (self.labels.sum(axis=1) == 1)


def agreement(reference: Side, other: Side, values: tuple[str, ...]) -> dict[str, Any]:
    """Compare ``other`` with ``reference`` over the rows where both have exactly one value.

    Rows with several values, or with none, are counted by side and compared with nothing: two people in one picture
    are no disagreement.

    Returns
    -------
    dict
        ``n`` compared, ``n_reference_only`` and ``n_other_only`` (the other side has none, several, or abstains),
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


def _kappa(one: np.ndarray, other: np.ndarray) -> float | None:
    """Cohen's kappa; None where both have one and the same value throughout, so that chance explains everything."""
    if len(one) == 0 or (len(np.unique(np.concatenate([one, other]))) == 1):
        return None
    return float(cohen_kappa_score(one, other))


def share_with_interval(hits: int, n: int) -> dict[str, float | int | None]:
    """A share with its Wilson 95 % interval, and the number it is of; None where that is 0."""
    if n == 0:
        return {"value": None, "ci_low": None, "ci_high": None, "n": 0}
    low, high = wilson_interval(hits / n, n)
    return {"value": hits / n, "ci_low": low, "ci_high": high, "n": n}
