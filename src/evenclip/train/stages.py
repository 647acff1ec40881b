"""Two stages: batches of one weighting, then of another, to see how bias is learnt and unlearnt.

Reads and writes nothing.
"""

from typing import Any

from evenclip.train.batches import Batch, Batches, Embed


class StagedBatches(Batches):
    """The batches of ``first`` before step ``switch``, those of ``second`` from there on.

    Both count their steps from the start of the training. The step ``switch`` begins an epoch, wherever the second
    stage's own epochs begin.
    """

    def __init__(self, first: Batches, second: Batches, switch: int):
        self._first, self._second, self._switch = first, second, switch
        self.steps_per_epoch = second.steps_per_epoch
        self._n_first = first.epoch(switch - 1) + 1 if switch else 0  # epochs of the first stage

    def epoch(self, step: int) -> int:
        """The epoch that ``step`` lies in, counted through both stages."""
        if step < self._switch:
            return self._first.epoch(step)
        return self._n_first + self._second.epoch(step) - self._second.epoch(self._switch)

    def at(self, step: int) -> Batch:
        """The batch of ``step``."""
        return self._stage(step).at(step)

    def prepare(self, step: int, embed: Embed) -> None:
        """Tell the stage of ``step``; what the first remembers is not kept beyond it."""
        if step == self._switch:
            self._first.restore({})
        self._stage(step).prepare(step, embed)

    def known_until(self, step: int) -> float:
        """What the stage of ``step`` knows, and of the second nothing before it has begun."""
        known = self._stage(step).known_until(step)
        return min(known, self._switch) if step < self._switch else known

    def state(self) -> dict[str, Any]:
        """The states of both stages."""
        return {"first": self._first.state(), "second": self._second.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self._first.restore(state["first"])
        self._second.restore(state["second"])

    def _stage(self, step: int) -> Batches:
        return self._first if step < self._switch else self._second
