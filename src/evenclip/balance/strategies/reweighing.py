"""Reweighing (Kamiran and Calders): P(s) P(y) / P(s, y), multiplied over the pairs of group and label."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from evenclip.balance.problem import Problem
from evenclip.balance.strategies.base import Solution, scaled
from evenclip.bias import Contrast


def weigh(problem: Problem) -> Solution:
    """Reweigh the cells, and scale the factors to weights."""
    moments = problem.moments
    return scaled(problem, reweigh(problem.contrasts, moments.labels[:, 1:], moments.weight))


def reweigh(contrasts: Sequence[Contrast], labels: sparse.csr_array, weight: np.ndarray) -> np.ndarray:
    """Reweighing (Kamiran & Calders, Knowl. Inf. Syst. 33, 2012) per pair: P(s) P(y) / P(s, y), multiplied over pairs.

    For one attribute and one label it makes them independent and keeps both shares. For more, the product of the
    pairs' factors is a heuristic that holds none of the pairs exactly; it is here as the baseline people know.

    Parameters
    ----------
    contrasts : sequence of Contrast
        Attributes; cells outside a contrast keep their weight.
    labels : scipy.sparse.csr_array, shape (n_cells, n_labels)
    weight : numpy.ndarray, shape (n_cells,)
        Share of the rows in each cell.
    """
    log_factor = np.zeros(len(weight))
    dense = [np.asarray(labels[:, [r]].todense()).ravel().astype(bool) for r in range(labels.shape[1])]
    for contrast in contrasts:
        total = weight[contrast.covered].sum()
        for label in dense:
            for side in (contrast.inside, contrast.outside):
                for value in (label, ~label):
                    cell = side & value
                    joint = weight[cell].sum() / total
                    if joint > 0:
                        covered = contrast.covered
                        independent = weight[side].sum() / total * weight[covered & value].sum() / total
                        log_factor[cell] += np.log(independent / joint)
    factor = np.exp(log_factor - log_factor.max())
    return factor / (weight @ factor)
