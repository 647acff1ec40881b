"""Means of examples that come in clusters, e.g. several questions about one picture: whole clusters are resampled."""

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.records import MetricRow


def clustered_row(
    metric: str, values: np.ndarray, clusters: np.ndarray, bootstrap: Bootstrap, group: str = "",
    random: float | None = None,
) -> MetricRow:  # fmt: skip
    """The mean of ``values``, shape (n,), its bootstrap over ``clusters``, shape (n,): what each example belongs to.

    Examples of one cluster are alike: resampled one by one they would give an interval that is too short.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    means = bootstrap.means(np.stack([np.bincount(cluster, values), np.bincount(cluster)], axis=1))
    return means.row(metric, lambda m: m[..., 0, 0] / m[..., 0, 1], len(values), group, random)
