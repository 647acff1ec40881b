"""Raking (iterative proportional fitting): matches the shares of the groups, says nothing of associations."""

from collections.abc import Sequence

import numpy as np

from evenclip.balance.problem import Problem
from evenclip.balance.strategies.base import Solution, scaled
from evenclip.bias import Contrast
from evenclip.errors import InputError

RAKING_TOLERANCE = 1e-10
RAKING_ROUNDS = 1000


def weigh(problem: Problem) -> Solution:
    """Rake the cells, and scale the factors to weights."""
    return scaled(problem, rake(problem.contrasts, problem.moments.weight))


def rake(contrasts: Sequence[Contrast], weight: np.ndarray) -> np.ndarray:
    """Raking, or iterative proportional fitting (Deming & Stephan, 1940): match the shares of the groups alone.

    Parameters
    ----------
    contrasts : sequence of Contrast
        Each fits the share of its group inside the contrast; cells outside it keep their weight.
    weight : numpy.ndarray, shape (n_cells,)
        Share of the rows in each cell.

    Returns
    -------
    numpy.ndarray, shape (n_cells,)
        Factors f with mean 1 under ``weight``.

    Raises
    ------
    InputError
        If the margins contradict each other, so that the rounds do not settle.
    """
    factor = np.ones(len(weight))
    for _ in range(RAKING_ROUNDS):
        off = 0.0
        for contrast in contrasts:
            inside, outside = (float(weight[m] @ factor[m]) for m in (contrast.inside, contrast.outside))
            mass = inside + outside
            off = max(off, abs(inside / mass - contrast.target))
            factor[contrast.inside] *= contrast.target * mass / inside
            factor[contrast.outside] *= (1 - contrast.target) * mass / outside
        if off <= RAKING_TOLERANCE:
            return factor / (weight @ factor)
    raise InputError(
        f"raking did not settle in {RAKING_ROUNDS} rounds (a share is still off by {off:.2g})",
        "strategy",
        "the targets may contradict each other; use m4, which has tolerances",
    )
