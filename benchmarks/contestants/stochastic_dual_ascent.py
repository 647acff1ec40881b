"""The dual ascent of the M4 paper (algorithm 1): one pass over the examples, for streams; the solver to beat.

It needs no cells, but has no certificate of its own and, after one pass, satisfies tight constraints only roughly. Its
multipliers can be certified on cells.
"""

import numpy as np


class StochasticDual:
    """Multipliers updated example by example.

    Each example gets q = clip(eta u - sum_j lambda_j a_j - mu, 0, Q), then the multipliers move along the gradient
    of its dual term by tau0 / sqrt(t): lambda_j = lambda+_j - lambda-_j with both in [0, V].

    Parameters
    ----------
    tolerance : numpy.ndarray, shape (J,)
        eps.
    retention, cap, price, step : float
        eta, Q, V and tau0.

    Attributes
    ----------
    multiplier : numpy.ndarray, shape (J,)
    mean_multiplier : float
    seen : int
        Examples seen.
    """

    def __init__(self, tolerance: np.ndarray, retention: float, cap: float, price: float, step: float):
        self._limit, self._retention, self._cap, self._price, self._step = (
            retention * tolerance.ravel(), retention, cap, price, step
        )  # fmt: skip
        self._sides = np.zeros((2, tolerance.size))
        self.mean_multiplier = 0.0
        self.seen = 0

    @property
    def multiplier(self) -> np.ndarray:
        """lambda = lambda+ - lambda-."""
        return self._sides[0] - self._sides[1]

    def update(self, moment: np.ndarray, utility: float) -> float:
        """See one example with moments ``moment``, shape (J,); return its weight at the time."""
        self.seen += 1
        pull = moment @ self._sides[0] - moment @ self._sides[1] + self.mean_multiplier
        q = min(max(self._retention * utility - pull, 0.0), self._cap)
        step = self._step / np.sqrt(self.seen)
        change = q * moment
        self._sides[0] += step * (change - self._limit)
        self._sides[1] += step * (-change - self._limit)
        np.clip(self._sides, 0.0, self._price, out=self._sides)
        self.mean_multiplier += step * (q - self._retention)
        return q


def examples(count: np.ndarray, seed: int) -> np.ndarray:
    """The cell of each example, in a random order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(count)), count))
