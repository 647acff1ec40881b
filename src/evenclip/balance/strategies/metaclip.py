"""MetaCLIP: rows drawn so that frequent labels are cut to about t rows; says nothing of groups."""

import numpy as np
from scipy import sparse

from evenclip.balance.problem import Problem
from evenclip.balance.realise import Plan
from evenclip.balance.strategies.base import Solution, choose_retention
from evenclip.errors import InputError

_ROUNDS = 200


def weigh(problem: Problem) -> Solution:
    """Keep each row with MetaCLIP's probability, at the limit that is given or that keeps the share asked for.

    Raises
    ------
    InputError
        Both `label_limit` and `retention` are given.
    """
    moments, options, cells = problem.moments, problem.options, problem.cells
    labels = moments.labels[:, 1:]
    bound = None
    if options.label_limit is None:
        share, bound = choose_retention(moments, options)
        limit = limit_for(labels, cells.count, share)
    elif options.retention != "auto":
        raise InputError("label_limit and retention both say how many rows are kept", "metaclip", "give one of them")
    else:
        limit = float(options.label_limit)
    return Solution(
        Plan.of_subsample(cells.count, keep_probability(labels, cells.count, limit), problem.seed), bound=bound
    )


def keep_probability(labels: sparse.csr_array, count: np.ndarray, limit: float) -> np.ndarray:
    """Probability that a row of each cell is kept (Xu et al., *Demystifying CLIP Data*, ICLR 2024, algorithm 1).

    A label of c rows lets a row through with probability min(1, t / c); a row is kept if any of its labels lets it
    through. MetaCLIP's half a million entries leave few texts without one, and it drops these. Here, with a few
    labels, having none is one more entry, cut to the same limit (ours).

    Parameters
    ----------
    labels : scipy.sparse.csr_array, shape (n_cells, R)
    count : numpy.ndarray, shape (n_cells,)
        Rows of each cell.
    limit : float
        t.
    """
    unlabelled = labels.sum(axis=1) == 0
    rows = np.maximum(labels.T @ count, 1)
    with np.errstate(divide="ignore"):
        log_refused = np.log1p(-np.minimum(1.0, limit / rows))  # -inf: the label lets all its rows through
    certain = labels @ np.isneginf(log_refused).astype(float) > 0
    refused = np.exp(labels @ np.where(np.isneginf(log_refused), 0.0, log_refused))
    probability = np.where(certain, 1.0, 1.0 - refused)
    return np.where(unlabelled, min(1.0, limit / max(count[unlabelled].sum(), 1)), probability)


def limit_for(labels: sparse.csr_array, count: np.ndarray, share: float) -> float:
    """The limit t at which ``share`` of the rows is kept, by bisection."""
    low, high = 0.0, float(count.sum())
    for _ in range(_ROUNDS):
        limit = (low + high) / 2
        kept = float(count @ keep_probability(labels, count, limit)) / count.sum()
        low, high = (limit, high) if kept < share else (low, limit)
        if high - low <= 1e-9 * high:
            break
    return high
