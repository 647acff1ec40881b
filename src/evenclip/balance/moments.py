"""The moments a_j = (s_k - pi_k) y_r of cells, as fast linear operators that never form the matrix of all moments.

Moment j = (k, r) is the product of contrast k's signal and label r, where label 0 is the constant 1 (representation)
and the rest are labels and proxies (association). All expectations are over rows: cells weigh by their counts.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from evenclip.balance.options import BalanceOptions
from evenclip.balance.table.cells import Cells
from evenclip.bias import Contrast
from evenclip.tables import LabelColumn

_BLOCK_ELEMENTS = 4_000_000  # label pairs or signal products held at once by `gram`
_CACHED_PAIRS = 60_000_000  # label pairs kept between calls of `gram`
_SMALLEST_TOLERANCE = 1e-6  # relative to a moment's size: a zero tolerance would leave no interior


@dataclass
class Moments:
    """Signals, labels and tolerances of J = n_contrasts * (n_labels + 1) moments.

    Attributes
    ----------
    signal : numpy.ndarray, shape (n_cells, n_contrasts)
    labels : scipy.sparse.csr_array, shape (n_cells, n_labels + 1)
        Column 0 is all ones.
    weight : numpy.ndarray, shape (n_cells,)
        Share of the rows in each cell; sums to 1.
    utility : numpy.ndarray, shape (n_cells,)
    tolerance : numpy.ndarray, shape (n_contrasts, n_labels + 1)
        eps: what |E[q a]| / E[q] may be at most.
    group_names, label_names : list of str
    """

    signal: np.ndarray
    labels: sparse.csr_array
    weight: np.ndarray
    utility: np.ndarray
    tolerance: np.ndarray
    group_names: list[str]
    label_names: list[str]
    _pairs: list | None = field(default=None, repr=False)

    @property
    def n_moments(self) -> int:
        """J, without the moment of the mean weight."""
        return self.tolerance.size

    @cached_property
    def size(self) -> np.ndarray:
        """Shape (J,): root mean square of each moment, sqrt(E[a_j^2])."""
        return np.sqrt((self.labels.T @ (self.signal**2 * self.weight[:, None])).T.ravel())

    def combine(self, multiplier: np.ndarray) -> np.ndarray:
        """Shape (n_cells,): sum_j multiplier_j a_j of each cell; ``multiplier`` has J entries."""
        per_contrast = self.labels @ multiplier.reshape(self.tolerance.shape).T
        return np.einsum("ik,ik->i", per_contrast, self.signal)

    def expect(self, value: np.ndarray) -> np.ndarray:
        """Shape (J,): E[value a_j]."""
        return (self.labels.T @ (self.signal * (self.weight * value)[:, None])).T.ravel()

    def mean(self, value: np.ndarray) -> float:
        """E[value]."""
        return float(np.einsum("i,i->", self.weight, value))  # a threaded BLAS dot product costs more than it saves

    def gram(self, value: np.ndarray) -> np.ndarray:
        """Shape (J, J): E[value a a^T].

        Each cell has few labels, so the products y_r y_s of its label pairs are few: they are listed once, and the
        Gram matrix is one sparse product of these lists with the products of signals.
        """
        n_contrasts, n_labels = self.tolerance.shape
        first, second = np.triu_indices(n_contrasts)
        total = np.zeros((n_labels * n_labels, len(first)))
        for rows, pairs in self._pair_blocks(len(first)):
            signal = self.signal[rows]
            products = signal[:, first] * signal[:, second] * (self.weight[rows] * value[rows])[:, None]
            total += pairs.T @ products
        total = total.reshape(n_labels, n_labels, len(first))
        total = total + np.triu(np.ones((n_labels, n_labels)), 1).T[:, :, None] * total.transpose(1, 0, 2)
        result = np.empty((n_contrasts, n_labels, n_contrasts, n_labels))
        for j, (k, m) in enumerate(zip(first, second, strict=True)):
            result[k, :, m, :] = total[:, :, j]
            result[m, :, k, :] = total[:, :, j]
        return result.reshape(self.n_moments, self.n_moments)

    def _pair_blocks(self, n_products: int):
        """(rows, sparse matrix rows x label pairs r <= s) for blocks of cells; cached where that fits."""
        if self._pairs is not None:
            yield from self._pairs
            return
        per_row = np.diff(self.labels.indptr).astype(np.int64)
        per_row = per_row * (per_row + 1) // 2
        cumulative = np.cumsum(np.maximum(per_row, n_products))
        cuts = np.searchsorted(
            cumulative, np.arange(_BLOCK_ELEMENTS, cumulative[-1] + _BLOCK_ELEMENTS, _BLOCK_ELEMENTS)
        )
        edges = np.unique(np.concatenate([[0], np.minimum(cuts + 1, len(per_row)), [len(per_row)]]))
        keep = [] if per_row.sum() <= _CACHED_PAIRS else None
        for start, stop in pairwise(edges):
            block = slice(int(start), int(stop)), _label_pairs(self.labels[start:stop])
            if keep is not None:
                keep.append(block)
            yield block
        self._pairs = keep

    def residual(self, weight: np.ndarray, retention: float) -> np.ndarray:
        """Shape (n_contrasts, n_labels + 1): |E[q a]| / eta for weights q, to be compared with ``tolerance``."""
        return np.abs(self.expect(weight)).reshape(self.tolerance.shape) / retention


def label_matrix(cells: Cells, columns: tuple[str, ...]) -> sparse.csr_array:
    """Shape (n_cells, len(columns)): the labels as a sparse matrix of 0 and 1."""
    rows = [np.flatnonzero(cells.value(column)) for column in columns]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    indices = np.concatenate(rows) if rows else np.zeros(0, int)
    matrix = sparse.csc_array((np.ones(len(indices)), indices, indptr), shape=(len(cells), len(columns)))
    return matrix.tocsr()


def build_moments(cells: Cells, contrasts: list[Contrast], options: BalanceOptions) -> Moments:
    """Moments of the contrasts with the targets, and with the proxies where ``options.proxies``.

    Tolerances: eps_rep P(contrast) for representation, eps_rel P(contrast, label) pi (1 - pi) (or eps_abs) for
    association; P(contrast) is 1 under one-hot coding without nulls.
    """
    columns = cells.columns.target + (cells.columns.proxy if options.proxies else ())
    labels = sparse.hstack([np.ones((len(cells), 1)), label_matrix(cells, columns)], format="csr")
    weight = cells.count / cells.n
    signal = np.column_stack([contrast.signal for contrast in contrasts])
    target = np.array([contrast.target for contrast in contrasts])
    covered = np.column_stack([contrast.covered for contrast in contrasts])
    share = (labels.T @ (covered * weight[:, None])).T
    tolerance = options.eps_rel * share * (target * (1 - target))[:, None]
    if options.eps_abs is not None:
        tolerance[:] = options.eps_abs
    tolerance[:, 0] = options.eps_rep * share[:, 0]
    names = [LabelColumn.parse(column).short_name for column in columns]
    moments = Moments(signal, labels, weight, cells.utility, tolerance, [c.name for c in contrasts], names)
    floor = _SMALLEST_TOLERANCE * np.maximum(moments.size, 1e-12)
    moments.tolerance = np.maximum(tolerance, floor.reshape(tolerance.shape))
    return moments


def _label_pairs(labels: sparse.csr_array) -> sparse.csr_array:
    """Row i lists r * n_labels + s for every pair r <= s of labels of cell i."""
    n_labels = labels.shape[1]
    length = np.diff(labels.indptr).astype(np.int64)
    owner = np.repeat(np.arange(len(length)), length)
    position = np.arange(len(labels.indices)) - labels.indptr[owner]
    partners = length[owner] - position  # entry r pairs with itself and with all that follow in its row
    left = np.repeat(np.arange(len(owner)), partners)
    starts = np.concatenate([[0], np.cumsum(partners)[:-1]])
    right = left + np.arange(len(left)) - starts[left]
    code = labels.indices[left].astype(np.int64) * n_labels + labels.indices[right]
    indptr = np.concatenate([[0], np.cumsum(length * (length + 1) // 2)])
    return sparse.csr_array((np.ones(len(code)), code, indptr), shape=(len(length), n_labels**2))
