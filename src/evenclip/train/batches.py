"""Which pairs make up which batch: a function of (copies, batch size, seed, step), so that any step can be redone.

Reads and writes nothing. Another way to make batches is another subclass of `Batches`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenclip.errors import InputError

Embed = Callable[[str, np.ndarray], np.ndarray]
"""(``"image"`` or ``"text"``, k rows): unit features of these pairs by the model as it is now, float32, shape (k, d).

A pair's text is its first caption.
"""


@dataclass(frozen=True)
class Batch:
    """``rows``, shape (b,): which pairs; ``draws``, shape (b,), in [0, 1): which of a pair's captions."""

    rows: np.ndarray
    draws: np.ndarray


class Batches(ABC):
    """Which pairs meet at which step: deterministic in (seed, step) and, if it has any, in its embeddings."""

    steps_per_epoch: int

    def epoch(self, step: int) -> int:
        """The epoch that ``step`` lies in, both from 0."""
        return step // self.steps_per_epoch

    @abstractmethod
    def at(self, step: int) -> Batch:
        """The batch of ``step``, from 0, which lies before `known_until`."""

    def prepare(self, step: int, embed: Embed) -> None:  # noqa: B027  (most need nothing)
        """Called before each step: the time to embed what later batches depend on."""

    def known_until(self, step: int) -> float:
        """The first step whose batch is not known yet, once ``step`` was prepared."""
        return math.inf

    def logged(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Scalars on these batches, one row of the history; the same names always."""
        return {}

    def state(self) -> dict[str, Any]:
        """What `at` needs beside the seed, in types that torch loads safely."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Go to where ``state`` was saved."""


class WeightedBatches(Batches):
    """Every pair ``copies`` times an epoch, no pair twice in a batch unless it has more copies than there are batches.

    The repeated pairs are laid out in random order, copies side by side, and dealt to the batches as cards are to
    players; then the batches are shuffled. What is left over after the last full batch waits for another epoch's order.

    Parameters
    ----------
    copies : ndarray of shape (n,), int
        How often each pair is shown per nominal epoch.
    batch_size : int
        At most ``copies.sum()``.
    seed : int
    """

    def __init__(self, copies: np.ndarray, batch_size: int, seed: int):
        self.steps_per_epoch = int(copies.sum()) // batch_size
        if self.steps_per_epoch < 1:
            what = f"a batch of {batch_size} is more than the {copies.sum()} pairs of an epoch"
            raise InputError(what, "batch_size", "make it smaller, or keep more pairs")
        self._copies, self._batch_size, self._seed = copies, batch_size, seed
        self._epoch, self._batches = -1, None

    def at(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._deal(epoch)
        return self._batches[place]

    def _deal(self, epoch: int) -> list[Batch]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(np.flatnonzero(self._copies))
        cards = np.repeat(order, self._copies[order])[: self.steps_per_epoch * self._batch_size]
        hands = cards.reshape(self._batch_size, self.steps_per_epoch).T  # card i goes to batch i mod steps_per_epoch
        draws = rng.random(hands.shape)
        return [Batch(hands[i], draws[i]) for i in rng.permutation(self.steps_per_epoch)]
