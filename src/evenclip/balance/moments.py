"""The moments of cells as fast linear operators that never form the matrix of all moments.

Moments that are balanced, a = (s_k - pi_k) y_r: the product of contrast k's signal and label r, where label 0 is the
constant 1 (representation) and the rest are labels and proxies (association). Moments that are preserved, b = y_r -
E[y_r]: the share of label r; and the same of the rows that a signed contrast compares. All expectations are over rows:
cells weigh by their counts.

Preserved moments come from the same products with one more signal, the constant 1, centred by a sparse map T:
E[q b] = T E[q products]. So solvers see moments, whatever they are made of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
from scipy import sparse

from evenclip.balance.label_pairs import PairBlock, expand, signal_patterns
from evenclip.balance.options import BalanceOptions
from evenclip.balance.table.cells import Cells
from evenclip.bias import Contrast
from evenclip.label_columns import LabelColumn

_BLOCK_ELEMENTS = 4_000_000  # label pairs, or products of signals and columns, held at once by `gram`
_BLOCK_CELLS = 1 << 14  # cells whose products are held at once elsewhere: they fit in the processor's cache
_CACHED_PAIRS = 60_000_000  # label pairs kept between calls of `gram`
_SMALLEST_TOLERANCE = 1e-6  # relative to a moment's size: a zero tolerance would leave no interior
_VACUOUS = 2.0  # |E[q a]| / E[q] is at most 1


@dataclass(frozen=True)
class Subject:
    """What a moment is about.

    Attributes
    ----------
    kind : {"representation", "association", "kept share"}
    group : str or None
        The contrast's group; None for the share of a label.
    label : str or None
        None for the share of a group, or of the rows that a contrast compares.
    """

    kind: str
    group: str | None
    label: str | None

    def __str__(self) -> str:
        if self.kind == "association":
            return f"({self.group}, {self.label})"
        if self.kind == "representation":
            return f"the share of {self.group}"
        return f"the kept share of {self.label or f'the rows that {self.group} is compared in'}"


@dataclass
class Moments:
    """Signals, labels and tolerances of J moments: K * (R + 1) balanced ones, then those that are preserved.

    Attributes
    ----------
    signal : numpy.ndarray, shape (n_cells, K), or (n_cells, K + 1) where the last one is the constant 1
    labels : scipy.sparse.csr_array, shape (n_cells, R + 1)
        Column 0 is all ones.
    extra : numpy.ndarray, shape (n_cells, C)
        Further columns whose shares are preserved.
    weight : numpy.ndarray, shape (n_cells,)
        Share of the rows in each cell; sums to 1.
    utility : numpy.ndarray, shape (n_cells,)
    tolerance : numpy.ndarray, shape (J,)
        eps: what |E[q a]| / E[q] may be at most.
    subjects : list of J Subject
    centre : scipy.sparse.csr_array, shape (J, number of products), or None
        T, from products of signals and labels to moments; None = these are the moments.
    """

    signal: np.ndarray
    labels: sparse.csr_array
    extra: np.ndarray
    weight: np.ndarray
    utility: np.ndarray
    tolerance: np.ndarray
    subjects: list[Subject]
    centre: sparse.csr_array | None = None
    _pairs: list | None = field(default=None, repr=False)

    @property
    def n_moments(self) -> int:
        """J, without the moment of the mean weight."""
        return len(self.tolerance)

    def of_kind(self, kind: str) -> np.ndarray:
        """Shape (J,), bool: the moments of this kind of `Subject`."""
        return np.array([subject.kind == kind for subject in self.subjects])

    def loosened(self, factor: float, *kinds: str) -> Self:
        """The same moments with the tolerances of some kinds multiplied by ``factor``."""
        chosen = np.logical_or.reduce([self.of_kind(kind) for kind in kinds])
        return replace(self, tolerance=np.where(chosen, factor * self.tolerance, self.tolerance))

    def without_label(self, label: str) -> Self:
        """The same moments with tolerances that nothing exceeds for one label."""
        chosen = np.array([subject.label == label for subject in self.subjects])
        return replace(self, tolerance=np.where(chosen, _VACUOUS, self.tolerance))

    @cached_property
    def size(self) -> np.ndarray:
        """Shape (J,): root mean square of each moment, sqrt(E[a_j^2])."""
        squares = (self.labels.T @ (self.signal**2 * self.weight[:, None])).T.ravel()
        if self.centre is None:
            return np.sqrt(squares)
        mean = self.expect_products(np.ones(len(self.weight)))
        squares = np.append(squares, self.weight @ self.extra**2)
        n_balanced = np.count_nonzero(~self.of_kind("kept share"))
        chosen = self.centre[n_balanced:].argmax(axis=1).ravel()  # the product that each preserved moment centres
        return np.sqrt(np.append(squares[:n_balanced], np.maximum(squares[chosen] - mean[chosen] ** 2, 0)))

    def combine(self, multiplier: np.ndarray) -> np.ndarray:
        """Shape (n_cells,): sum_j multiplier_j a_j of each cell; ``multiplier`` has J entries."""
        if self.centre is not None:
            multiplier = self.centre.T @ multiplier
        n_signals, n_labels = self._shape
        products = multiplier[: n_signals * n_labels].reshape(n_signals, n_labels).T
        combined = np.empty(len(self.weight))
        for rows, labels, _ in self._blocks:
            np.einsum("ik,ik->i", labels @ products, self.signal[rows], out=combined[rows])
        return combined + self.extra @ multiplier[n_signals * n_labels :] if self.extra.shape[1] else combined

    def expect(self, value: np.ndarray) -> np.ndarray:
        """Shape (J,): E[value a_j]."""
        products = self.expect_products(value)
        return products if self.centre is None else self.centre @ products

    def expect_products(self, value: np.ndarray) -> np.ndarray:
        """Expectation of each product of a signal and a label, then of the extra columns."""
        mass = self.weight * value
        products = np.zeros(self._shape[::-1])
        for rows, _, transposed in self._blocks:
            products += transposed @ (self.signal[rows] * mass[rows, None])
        products = products.T.ravel()
        return np.append(products, mass @ self.extra) if self.extra.shape[1] else products

    def mean(self, value: np.ndarray) -> float:
        """E[value]."""
        return float(np.einsum("i,i->", self.weight, value))  # a threaded BLAS dot product costs more than it saves

    def gram(self, value: np.ndarray) -> np.ndarray:
        """Shape (J, J): E[value a a^T].

        Each cell has few labels, so the products y_r y_s of its label pairs are few, and many cells have the same
        signals. Pairs of cells with the same signals are listed once; then the Gram matrix is a sparse product of the
        sums of their values with the products of signals.
        """
        gram = self._gram_of_products(value)
        if self.extra.shape[1]:
            gram = self._bordered(gram, value)
        if self.centre is None:
            return gram
        return np.ascontiguousarray(self.centre @ (self.centre @ gram).T)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.signal.shape[1], self.labels.shape[1]

    @cached_property
    def _blocks(self) -> list[tuple[slice, sparse.csr_array, sparse.csc_array]]:
        """(rows, their labels, these transposed) for blocks of cells; the labels are views."""
        edges = [*range(0, len(self.weight), _BLOCK_CELLS), len(self.weight)]
        parts = [(slice(start, stop), _rows(self.labels, start, stop)) for start, stop in pairwise(edges)]
        return [(rows, labels, labels.T) for rows, labels in parts]

    def _gram_of_products(self, value: np.ndarray) -> np.ndarray:
        n_signals, n_labels = self._shape
        first, second = np.triu_indices(n_signals)
        total = np.zeros((n_labels * (n_labels - 1) // 2 + 1, len(first)))
        mass = self.weight * value
        for block in self._pair_blocks():
            total += block.sums(mass).T @ (block.signal[:, first] * block.signal[:, second])
        result = np.empty((n_signals, n_labels, n_signals, n_labels))
        for k, m, products in zip(first, second, expand(total, n_labels), strict=True):
            result[k, :, m, :] = result[m, :, k, :] = products
        return result.reshape(n_signals * n_labels, n_signals * n_labels)

    def _bordered(self, gram: np.ndarray, value: np.ndarray) -> np.ndarray:
        """The Gram matrix of the products with rows and columns of the extra columns."""
        mass = (self.weight * value)[:, None]
        n_columns = self.extra.shape[1]
        at_once = max(1, _BLOCK_ELEMENTS // self.signal.size)  # columns, so that large tables need little memory
        parts = []
        for start in range(0, n_columns, at_once):
            columns = self.extra[:, start : start + at_once] * mass
            signals = (self.signal[:, :, None] * columns[:, None, :]).reshape(len(mass), -1)
            part = (self.labels.T @ signals).reshape(self._shape[1], self._shape[0], -1)
            parts.append(part.transpose(1, 0, 2).reshape(len(gram), -1))
        cross = np.hstack(parts)
        return np.block([[gram, cross], [cross.T, self.extra.T @ (self.extra * mass)]])

    @cached_property
    def _by_pattern(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each cell's number among the distinct rows of signals, these rows, and the order of the cells by number."""
        pattern, patterns = signal_patterns(self.signal)
        return pattern, patterns, np.argsort(pattern, kind="stable")

    def _pair_blocks(self) -> Iterator[PairBlock]:
        """Blocks of all cells' label pairs; cached where that fits."""
        if self._pairs is not None:
            yield from self._pairs
            return
        pattern, patterns, order = self._by_pattern
        n_pairs = np.diff(self.labels.indptr).astype(np.int64)[order]
        n_pairs = n_pairs * (n_pairs - 1) // 2 + 1
        held = n_pairs.copy()  # by each cell; the first of a pattern also brings the products of its signals
        first = np.flatnonzero(np.diff(pattern[order], prepend=-1))
        held[first] = np.maximum(held[first], self._shape[0] * (self._shape[0] + 1) // 2)
        cuts = np.searchsorted(np.cumsum(held), np.arange(_BLOCK_ELEMENTS, held.sum(), _BLOCK_ELEMENTS))
        edges = np.unique([0, *cuts, len(order)])
        keep = [] if n_pairs.sum() <= _CACHED_PAIRS else None
        for start, stop in pairwise(edges):
            cells = order[start:stop]
            block = PairBlock.of(cells, self.labels[cells], pattern[cells], patterns)
            if keep is not None:
                keep.append(block)
            yield block
        self._pairs = keep

    def residual(self, weight: np.ndarray, retention: float) -> np.ndarray:
        """Shape (J,): |E[q a]| / eta for weights q, to be compared with ``tolerance``."""
        return np.abs(self.expect(weight)) / retention


def label_matrix(cells: Cells, columns: Sequence[str]) -> sparse.csr_array:
    """Shape (n_cells, len(columns)): the labels as a sparse matrix of 0 and 1."""
    rows = [np.flatnonzero(cells.value(column)) for column in columns]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    indices = np.concatenate(rows) if rows else np.zeros(0, int)
    matrix = sparse.csc_array((np.ones(len(indices)), indices, indptr), shape=(len(cells), len(columns)))
    return matrix.tocsr()


def build_moments(
    cells: Cells, contrasts: Sequence[Contrast], columns: Sequence[str], options: BalanceOptions
) -> Moments:
    """Moments of the contrasts with the label columns ``columns``, and those that ``options.preserve`` adds.

    Tolerances: eps_rep P(contrast) for representation, eps_rel P(contrast, label) pi (1 - pi) (or eps_abs) for
    association, preserve_tolerance P(label) for a kept share; P(contrast) is 1 under one-hot coding without nulls.
    """
    labels = sparse.hstack([np.ones((len(cells), 1)), label_matrix(cells, columns)], format="csr")
    weight = cells.count / cells.n
    signal = np.ascontiguousarray(np.column_stack([contrast.signal for contrast in contrasts]))
    target = np.array([contrast.target for contrast in contrasts])
    covered = np.column_stack([contrast.covered for contrast in contrasts])
    share = (labels.T @ (covered * weight[:, None])).T
    tolerance = options.eps_rel * share * (target * (1 - target))[:, None]
    if options.eps_abs is not None:
        tolerance[:] = options.eps_abs
    tolerance[:, 0] = options.eps_rep * share[:, 0]
    names = [LabelColumn.parse(column).short_name for column in columns]
    subjects = [
        Subject("association" if name else "representation", contrast.name, name)
        for contrast in contrasts
        for name in (None, *names)
    ]
    moments = Moments(signal, labels, np.zeros((len(cells), 0)), weight, cells.utility, tolerance.ravel(), subjects)
    if options.preserve == "labels":
        moments = _with_preserved(moments, contrasts, names, options.preserve_tolerance)
    moments.tolerance = np.maximum(moments.tolerance, _SMALLEST_TOLERANCE * np.maximum(moments.size, 1e-12))
    return moments


def _with_preserved(moments: Moments, contrasts: Sequence[Contrast], names: list[str], tolerance: float) -> Moments:
    """The moments and those of the shares of all labels, and of the rows that each signed contrast compares.

    Under one-hot coding the targets fix how many rows show a group.
    """
    compared = [contrast for contrast in contrasts if contrast.coding == "signed"]
    extra = np.column_stack([np.zeros((len(moments.weight), 0)), *(contrast.covered for contrast in compared)])
    extra = extra.astype(float)
    signal = np.ascontiguousarray(np.column_stack([moments.signal, np.ones(len(moments.weight))]))
    n_balanced, n_labels = moments.n_moments, len(names) + 1
    share = np.append(moments.weight @ moments.labels[:, 1:], moments.weight @ extra)
    preserved = n_balanced + 1 + np.arange(len(share))  # products (1, label), then the extra columns
    rows = np.arange(n_balanced + len(share))
    centre = sparse.coo_array(
        (
            np.concatenate([np.ones(len(rows)), -share]),
            (
                np.concatenate([rows, rows[n_balanced:]]),
                np.concatenate([rows[:n_balanced], preserved, np.full(len(share), n_balanced)]),
            ),
        ),
        shape=(len(rows), n_balanced + n_labels + len(compared)),
    ).tocsr()
    subjects = [Subject("kept share", None, name) for name in names]
    subjects += [Subject("kept share", contrast.name, None) for contrast in compared]
    tolerances = np.append(moments.tolerance, tolerance * share)
    everything = moments.subjects + subjects
    return Moments(signal, moments.labels, extra, moments.weight, moments.utility, tolerances, everything, centre)


def _rows(labels: sparse.csr_array, start: int, stop: int) -> sparse.csr_array:
    """Rows of a matrix as a view."""
    indptr = labels.indptr[start : stop + 1]
    part = slice(indptr[0], indptr[-1])
    arrays = labels.data[part], labels.indices[part], indptr - indptr[0]
    return sparse.csr_array(arrays, (stop - start, labels.shape[1]))
