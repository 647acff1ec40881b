"""M4 for tables in memory, in scikit-learn's manner: parameters in, fitted attributes out."""

from typing import Any, Self

import numpy as np

from evenclip.balance.options import BalanceOptions
from evenclip.balance.report import describe
from evenclip.balance.run import weigh_rows
from evenclip.balance.strategies import weigh
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.coding import CodedRows
from evenclip.balance.table.source import Source


class M4Balancer:
    """Weights that make groups equally frequent and independent of labels (paper: M4, ICLR 2024, section 3).

    Minimises 1/2 E[(q - eta u)^2] subject to abs(E[q (s_k - pi_k)]) <= eta eps_R,
    abs(E[q (s_k - pi_k) y_r]) <= eta eps_D, E[q] = eta and 0 <= q <= Q; with ``preserve="labels"`` also
    abs(E[q (y_r - E[y_r])]) <= eta delta E[y_r]. See docs/balance.md for what that does, and does not guarantee.

    Parameters
    ----------
    seed : int
        Of the copies' starting points.
    **options
        Fields of `BalanceOptions`, e.g. ``target={"gender.woman": 0.5}``, ``retention=0.9``, ``strategy="raking"``.

    Attributes
    ----------
    weight_ : numpy.ndarray, shape (n_rows,), float32
        q of each row: probabilities of keeping it (cap 1), sampling weights, or factors of its loss.
    copies_ : numpy.ndarray, shape (n_rows,), uint8
        How often to show each row per epoch; sums to n_rows.
    report_ : dict
        The content of report.json: certificate, feasibility, bias before and after, kept shares, warnings.
    n_cells_ : int

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({
    ...     "sensitive.gender.woman": [True, False, False, False, True, False],
    ...     "sensitive.gender.man": [False, True, True, True, False, False],
    ...     "target.nurse": [True, False, False, True, False, False],
    ... })
    >>> balancer = M4Balancer(eps_rep=0.0, eps_rel=0.0, retention=0.5).fit(table)
    >>> balancer.report_["rb_before"], round(balancer.report_["rb_after"], 4)
    (0.09999999999999998, 0.0)
    """

    def __init__(self, seed: int = 0, **options: Any):
        self.options = BalanceOptions.parse(options, "M4Balancer")
        self.seed, self._given = seed, options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters with their values: the objects themselves, not copies, as `sklearn.clone` requires."""
        return {"seed": self.seed} | self.options.model_dump() | self._given

    def set_params(self, **params: Any) -> Self:
        """Change parameters; unknown ones raise `InputError`."""
        self.__init__(**self.get_params() | params)
        return self

    def fit(self, table: Any, y: None = None) -> Self:
        """Weigh the rows of a labels table.

        Parameters
        ----------
        table : path, folder of Parquet files, sequence of paths, or pyarrow, pandas or polars table
        y : ignored

        Raises
        ------
        InputError
            If the table is wrong, or the constraints cannot hold.
        """
        source = Source(table)
        with CodedRows() as rows:
            cells = count_cells(source, self.options.utility_bits, rows)
            balanced = weigh(cells, self.options, self.seed, source.name)
            self.weight_, self.copies_ = weigh_rows(rows, cells, balanced.solution.plan)
        self.report_ = describe(balanced)
        self.n_cells_ = len(cells)
        return self

    def fit_resample(self, table: Any, y: None = None) -> np.ndarray:
        """Fit, and return the row numbers to train on: each as often as ``copies_`` says, in order."""
        self.fit(table)
        return np.repeat(np.arange(len(self.copies_)), self.copies_)
