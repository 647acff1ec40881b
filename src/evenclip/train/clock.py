"""One clock for all curricula of a training: what gets harder gets harder together."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """``n_steps``: steps of the whole training, at least 1."""

    n_steps: int

    def progress(self, step: int) -> float:
        """How far the training is at ``step``, from 0: 0 at the first step, 1 at the last."""
        return min(1.0, step / max(1, self.n_steps - 1))


def ramp(progress: float, start: float, end: float, n_levels: int | None = None) -> float:
    """A value that goes from ``start`` to ``end`` as ``progress`` goes from 0 to 1.

    Parameters
    ----------
    progress : float
        In [0, 1], of `Clock.progress`.
    start, end : float
    n_levels : int, optional
        At least 2: the value takes so many equally spaced levels, each for an equal share of the training; default:
        it changes at every step.
    """
    if n_levels is not None:
        progress = min(int(progress * n_levels), n_levels - 1) / (n_levels - 1)
    return start + (end - start) * progress
