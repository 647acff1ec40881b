"""Label pairs of cells, summed over the cells with the same signals: what the Gram matrix of moments is made of.

A cell with labels r and s adds its mass times y_r y_s s_k s_m to each entry ((k, r), (m, s)) of the matrix. Cells with
the same signals differ in their masses alone, so masses are added up first, by pattern of signals and pair of labels.

Label 0 is the constant 1, and y_r y_r = y_r: so pairs r < s are enough, with one more kind for the mass of all labels,
(0, 0).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from evenclip.balance.table.coding import as_arrow, as_numpy


def signal_patterns(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row among the distinct rows of ``signal``, and the distinct rows."""
    number, n_numbers = np.zeros(len(signal), np.int64), 1
    for column in signal.T:
        value = as_arrow(column).dictionary_encode()
        both = as_arrow(number * len(value.dictionary) + as_numpy(value.indices)).dictionary_encode()
        number = as_numpy(both.indices).astype(np.int64)
        n_numbers = len(both.dictionary)
    row = np.empty(n_numbers, np.int64)
    row[number] = np.arange(len(signal))
    return number, signal[row]


@dataclass(frozen=True)
class PairBlock:
    """Label pairs of some cells; those of cells with the same signals share an entry of a sparse matrix.

    Attributes
    ----------
    cells : numpy.ndarray, shape (n,)
    owner, entry : numpy.ndarray, shape (n_pairs,), int32
        The cell, as an index into ``cells``, and the entry of each pair.
    indptr, indices : numpy.ndarray
        Of the sparse matrix in CSR format, patterns x kinds of pairs.
    signal : numpy.ndarray, shape (n_patterns, K)
    n_kinds : int
        Number of pairs r < s of labels, and one.
    """

    cells: np.ndarray
    owner: np.ndarray
    entry: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    signal: np.ndarray
    n_kinds: int

    @classmethod
    def of(cls, cells: np.ndarray, labels: sparse.csr_array, pattern: np.ndarray, patterns: np.ndarray) -> Self:
        """The block of ``cells``, which are in the order of their ``pattern``."""
        n_kinds = labels.shape[1] * (labels.shape[1] - 1) // 2 + 1
        owner, kind = _label_pairs(labels)
        first, last = pattern[0], pattern[-1]
        entries = as_arrow(pattern[owner] * n_kinds + kind).dictionary_encode()  # in the order of the patterns
        row, column = np.divmod(as_numpy(entries.dictionary), n_kinds)
        indptr = np.searchsorted(row, np.arange(first, last + 2))
        return cls(cells, owner.astype(np.int32), as_numpy(entries.indices), indptr.astype(np.int32),
                   column.astype(np.int32), patterns[first : last + 1], n_kinds)  # fmt: skip

    def sums(self, mass: np.ndarray) -> sparse.csr_array:
        """Sums of the cells' ``mass`` by pattern and pair."""
        data = np.bincount(self.entry, mass[self.cells][self.owner], len(self.indices))
        return sparse.csr_array((data, self.indices, self.indptr), (len(self.indptr) - 1, self.n_kinds))


def expand(sums: np.ndarray, n_labels: int) -> np.ndarray:
    """Matrices of all pairs of labels, shape (m, n_labels, n_labels), from m sums of each kind, shape (n_kinds, m)."""
    matrices = np.empty((sums.shape[1], n_labels, n_labels))
    first, second = np.triu_indices(n_labels, 1)
    matrices[:, first, second] = matrices[:, second, first] = sums[:-1].T
    matrices[:, 0, 0] = sums[-1]
    label = np.arange(1, n_labels)
    matrices[:, label, label] = matrices[:, 0, label]
    return matrices


def _label_pairs(labels: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Row and kind of every pair of labels of every row: r < s in the order of `numpy.triu_indices`, then (0, 0)."""
    n_labels = labels.shape[1]
    length = np.diff(labels.indptr).astype(np.int64)
    owner = np.repeat(np.arange(len(length)), length)
    position = np.arange(len(labels.indices)) - labels.indptr[owner]
    partners = length[owner] - position - (position > 0)  # all that follow in its row; the constant also itself
    left = np.repeat(np.arange(len(owner)), partners)
    starts = np.concatenate([[0], np.cumsum(partners)[:-1]])
    right = left + (position[left] > 0) + np.arange(len(left)) - starts[left]
    first = labels.indices[left].astype(np.int64)
    kind = first * (2 * n_labels - 1 - first) // 2 + labels.indices[right] - first - 1
    return owner[left], np.where(kind < 0, n_labels * (n_labels - 1) // 2, kind)
