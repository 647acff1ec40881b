"""Weights that people use instead of M4: raking and reweighing, on the same cells.

Both give weights with mean 1 and no cap; `strategies` scales them to a retention and checks the cap.
"""

import numpy as np
from scipy import sparse

from evenclip.bias import Contrast
from evenclip.errors import InputError

RAKING_TOLERANCE = 1e-10
RAKING_ROUNDS = 1000


def rake(found: list[Contrast], weight: np.ndarray) -> np.ndarray:
    """Raking, or iterative proportional fitting (Deming & Stephan, 1940): match the shares of the groups alone.

    Parameters
    ----------
    found : list of Contrast
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
        for contrast in found:
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


def reweigh(found: list[Contrast], labels: sparse.csr_array, weight: np.ndarray) -> np.ndarray:
    """Reweighing (Kamiran & Calders, Knowl. Inf. Syst. 33, 2012) per pair: P(s) P(y) / P(s, y), multiplied over pairs.

    For one attribute and one label it makes them independent and keeps both shares. For more, the product of the
    pairs' factors is a heuristic that holds none of the pairs exactly; it is here as the baseline people know.

    Parameters
    ----------
    found : list of Contrast
        Attributes; cells outside a contrast keep their weight.
    labels : scipy.sparse.csr_array, shape (n_cells, n_labels)
    weight : numpy.ndarray, shape (n_cells,)
        Share of the rows in each cell.
    """
    log_factor = np.zeros(len(weight))
    dense = [np.asarray(labels[:, [r]].todense()).ravel().astype(bool) for r in range(labels.shape[1])]
    for contrast in found:
        total = weight[contrast.inside | contrast.outside].sum()
        for label in dense:
            for side in (contrast.inside, contrast.outside):
                for value in (label, ~label):
                    cell = side & value
                    joint = weight[cell].sum() / total
                    if joint > 0:
                        covered = contrast.inside | contrast.outside
                        independent = weight[side].sum() / total * weight[covered & value].sum() / total
                        log_factor[cell] += np.log(independent / joint)
    factor = np.exp(log_factor - log_factor.max())
    return factor / (weight @ factor)
