"""Which pairs make up which batch: a function of copies, batch size, seed and step, so that any step can be repeated.

Other ways to make batches are other subclasses of `Batches`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenclip.errors import InputError

Embed = Callable[[str, np.ndarray], np.ndarray]
"""Unit features of k pairs, float32, shape (k, d), by the current model, from ``"image"`` or ``"text"`` and k rows.

The text of a pair is its first caption.
"""


@dataclass(frozen=True)
class Batch:
    """A batch of b pairs: ``rows``, shape (b,); ``draws``, shape (b,), in [0, 1), choose one caption of each pair."""

    rows: np.ndarray
    draws: np.ndarray


class Batches(ABC):
    """Which pairs meet at which step: a function of seed, step and, if it uses any, embeddings."""

    steps_per_epoch: int

    def epoch(self, step: int) -> int:
        """The epoch of ``step``, both counted from 0."""
        return step // self.steps_per_epoch

    @abstractmethod
    def at(self, step: int) -> Batch:
        """The batch of ``step``, counted from 0, which must be below `known_until`."""

    def prepare(self, step: int, embed: Embed) -> None:  # noqa: B027  (most need nothing)
        """Called before each step, to embed what later batches depend on."""

    def known_until(self, step: int) -> float:
        """The first step whose batch is not known yet, after ``step`` was prepared."""
        return math.inf

    def logged(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Scalars about these batches for one row of the history, always with the same names."""
        return {}

    def state(self) -> dict[str, Any]:
        """What `at` depends on beside the seed, in types that torch loads safely."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Continue from a saved ``state``."""


class WeightedBatches(Batches):
    """Batches that show every pair ``copies`` times per epoch, and no pair twice in a batch if that is possible.

    The pairs are put in random order, copies next to each other, and dealt to the batches like cards to players; then
    the batches are shuffled. The rest after the last full batch is left out, another one in each epoch. Twins that were
    dealt to different batches are then brought together by exchanging pairs between batches.

    Parameters
    ----------
    copies : ndarray of shape (n,), int
        How often each pair is shown per nominal epoch.
    batch_size : int
        At most ``copies.sum()``.
    seed : int
    twins : ndarray of shape (n,), int, optional
        The row of each pair's twin, -1 = it has none; default: no pair has one.
    """

    def __init__(self, copies: np.ndarray, batch_size: int, seed: int, twins: np.ndarray | None = None):
        self.steps_per_epoch = int(copies.sum()) // batch_size
        if self.steps_per_epoch < 1:
            what = f"a batch of {batch_size} is more than the {copies.sum()} pairs of an epoch"
            raise InputError(what, "batch_size", "make it smaller, or keep more pairs")
        self._copies, self._batch_size, self._seed, self._twins = copies, batch_size, seed, twins
        self._epoch, self._batches = -1, None

    def at(self, step: int) -> Batch:
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._deal(epoch)
        return self._batches[number]

    def _deal(self, epoch: int) -> list[Batch]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(np.flatnonzero(self._copies))
        cards = np.repeat(order, self._copies[order])[: self.steps_per_epoch * self._batch_size]
        hands = cards.reshape(self._batch_size, self.steps_per_epoch).T  # card i goes to batch i mod steps_per_epoch
        draws = rng.random(hands.shape)
        batches = [Batch(hands[i], draws[i]) for i in rng.permutation(self.steps_per_epoch)]
        if self._twins is not None:
            hands = np.stack([batch.rows for batch in batches])
            bring_twins_together(hands, self._twins, rng)
            batches = [Batch(rows, batch.draws) for rows, batch in zip(hands, batches, strict=True)]
        return batches


N_TRIES = 20  # random positions that are tried for a twin


def bring_twins_together(hands: np.ndarray, twins: np.ndarray, rng: np.random.Generator) -> None:
    """Exchange pairs between batches, in place, until twins meet.

    Every pair stays in the epoch as often as it is, and in a batch at most once if it was so before. A couple for which
    no position is found in `N_TRIES` tries stays apart; this is rare unless most pairs are twins.

    Parameters
    ----------
    hands : ndarray of shape (n_batches, batch_size), int
        The pairs of each batch.
    twins : ndarray of shape (n,), int
        The row of each pair's twin, -1 = it has none.
    rng : numpy.random.Generator
    """
    members = [set(hand) for hand in hands.tolist()]
    position = {row: (i, j) for i, hand in enumerate(hands.tolist()) for j, row in enumerate(hand)}
    settled = np.zeros(hands.shape, bool)
    for first in rng.permutation(np.flatnonzero(twins > np.arange(len(twins)))).tolist():
        second = int(twins[first])
        if first not in position or second not in position:
            continue
        (here, j), (there, k) = position[first], position[second]
        if second in members[here]:
            settled[here, j] = settled[here, hands[here] == second] = True
            continue
        for target in rng.integers(hands.shape[1], size=N_TRIES).tolist():
            moved = int(hands[here, target])
            if target == j or settled[here, target] or moved in members[there] or settled[there, k]:
                continue
            hands[here, target], hands[there, k] = second, moved
            members[here] ^= {moved, second}
            members[there] ^= {moved, second}
            position[second] = here, target
            if position[moved] == (here, target):
                position[moved] = there, k
            settled[here, j] = settled[here, target] = True
            break
