"""As many labelled and grouped rows as m4, blind to which: tells "fewer people" from "balanced people"."""

import numpy as np

from evenclip.balance.problem import Problem
from evenclip.balance.realise import Plan
from evenclip.balance.strategies.base import Solution, solve_moments


def weigh(problem: Problem) -> Solution:
    """Give the rows of each stratum (shows a group or not, has a label or not) the mean weight that m4 gives them."""
    cells = problem.cells
    weighting, bound = solve_moments(problem.moments, problem.options)
    shows_group = np.logical_or.reduce([cells.value(column) for column in cells.columns.sensitive])
    has_label = np.logical_or.reduce([cells.value(column) for column in problem.labels])
    return Solution(
        Plan.of_weights(
            cells.count, stratum_means(weighting.weight, cells.count, shows_group, has_label), problem.seed
        ),
        bound=bound,
    )


def stratum_means(weight: np.ndarray, count: np.ndarray, shows_group: np.ndarray, has_label: np.ndarray) -> np.ndarray:
    """Shape (n_cells,): the mean weight over the rows of each cell's stratum.

    Parameters
    ----------
    weight, count : numpy.ndarray, shape (n_cells,)
    shows_group, has_label : numpy.ndarray, shape (n_cells,), bool
    """
    stratum = 2 * shows_group.astype(int) + has_label
    total = np.bincount(stratum, count * weight, 4)
    return (total / np.maximum(np.bincount(stratum, count, 4), 1))[stratum]
