"""Two-stage training: a first share of the steps shows the pairs of another balancing strategy.

Used to ask when balanced data matters, at the start or at the end of a training (M4, arXiv 2403.04547, section 5).
"""

from typing import Any

from evenclip.train.batches import Batch, Batches, Embed
from evenclip.train.method_options import StagesOptions
from evenclip.train.plugin import BatchMaker, MethodContext, MethodParts


def build(context: MethodContext, options: StagesOptions) -> MethodParts:
    """Batches of the first stage's weights, then of the training's own."""
    pairs, n_steps = context.pairs, context.clock.n_steps
    switch = round(options.share * n_steps)

    def arrange(make_batches: BatchMaker) -> Batches:
        second = make_batches(pairs.copies, n_steps)
        return StagedBatches(make_batches(pairs.first_copies, switch), second, switch)

    return MethodParts(arrange_batches=arrange)


class StagedBatches(Batches):
    """The batches of ``first`` before the step ``switch``, those of ``second`` from there on.

    Both count their steps from the start of the training. The step ``switch`` starts a new epoch, wherever the epochs
    of the second stage begin.
    """

    def __init__(self, first: Batches, second: Batches, switch: int):
        self._first, self._second, self._switch = first, second, switch
        self.steps_per_epoch = second.steps_per_epoch
        self._n_first_epochs = first.epoch(switch - 1) + 1 if switch else 0

    def epoch(self, step: int) -> int:
        """The epoch of ``step``, counted through both stages."""
        if step < self._switch:
            return self._first.epoch(step)
        return self._n_first_epochs + self._second.epoch(step) - self._second.epoch(self._switch)

    def at(self, step: int) -> Batch:
        """The batch of ``step``."""
        return self._stage(step).at(step)

    def prepare(self, step: int, embed: Embed) -> None:
        """Prepare the stage of ``step``; what the first stage remembers is dropped at its end."""
        if step == self._switch:
            self._first.restore({})
        self._stage(step).prepare(step, embed)

    def known_until(self, step: int) -> float:
        """As the stage of ``step`` says; no batch of the second stage is known before it begins."""
        end = self._stage(step).known_until(step)
        return min(end, self._switch) if step < self._switch else end

    def state(self) -> dict[str, Any]:
        """The states of both stages."""
        return {"first": self._first.state(), "second": self._second.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self._first.restore(state["first"])
        self._second.restore(state["second"])

    def _stage(self, step: int) -> Batches:
        return self._first if step < self._switch else self._second
