"""The part of a training that mines negatives: its memory, and what it puts together for each batch."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evenclip.train.ahnm import MinedNegatives, mining_at
from evenclip.train.candidates import FalseCaptions, Texts
from evenclip.train.facts import false_captions, known_truth
from evenclip.train.group_shares import CandidateGroups
from evenclip.train.negative_examples import N_ANCHORS, NegativeExamples
from evenclip.train.perceived import Perceived
from evenclip.train.setting import Setting
from evenclip.train.step import Step


class HardNegatives:
    """Adaptive hard negative mining.

    Parameters
    ----------
    setting : Setting
        With ``options.ahnm``. Its graph, if any, gives false captions.
    perceived : Perceived, optional
        For fair shares, and for the bias of what is mined.
    """

    def __init__(self, setting: Setting, perceived: Perceived | None):
        self._options, self._setting = setting.options.ahnm, setting
        pairs, graph = setting.pairs, setting.graph
        rows, self._false_texts = false_captions(graph, pairs.keys) if graph else (np.zeros(0, np.int64), [])
        false_tokens = setting.tokens(self._false_texts) if len(rows) else pairs.tokens[:0]
        share, n_captions = self._options.graph_texts, len(pairs.tokens)
        usable = len(rows) and share
        self._false = FalseCaptions(rows, false_tokens, n_captions, share, setting.seed) if usable else None
        captions = torch.cat([pairs.tokens, false_tokens])
        self._true = known_truth(setting, captions) if setting.options.mask_true else None
        self._groups = CandidateGroups.of(perceived, setting.device) if perceived else None
        self._queue: Texts | None = None
        self._examples = NegativeExamples(setting.clock.n_steps)

    def adjust(self, step: Step) -> MinedNegatives:
        """The weights of one batch's negatives; the batch's texts are remembered."""
        own = self._own_texts(step)
        texts = own if self._queue is None else own + self._queue
        if self._false:
            texts += self._false.of(step)
        mined = MinedNegatives(
            image=step.image,
            texts=texts,
            scale=step.logit_scale,
            truth=self._true.at(step.batch.rows, texts.caption.cpu().numpy()) if self._true else None,
            mining=mining_at(self._options, step.progress),
            groups=self._groups.at(texts.row) if self._groups else None,
            fair=self._options.fair,
        )
        if self._examples.wanted(step.position):
            first = slice(0, min(N_ANCHORS, len(own.row)))
            cosine = step.image[first].detach() @ texts.text.detach().T
            self._examples.record(step.position, texts, len(own.row), cosine, mined.weight_of_texts(first))
        remembered = own if self._queue is None else self._queue + own
        self._queue = remembered.newest(self._options.queue)
        return mined

    def tables(self) -> dict[str, pa.Table]:
        """Examples of what was mined."""
        setting = self._setting
        return {"negatives": self._examples.table(setting.data, setting.pairs.keys, self._false_texts)}

    def state(self) -> dict[str, Any]:
        """The texts remembered, and the examples."""
        return {"queue": self._queue.state() if self._queue else {}, "examples": self._examples.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        queue = {name: tensor.to(self._setting.device) for name, tensor in state["queue"].items()}
        self._queue = Texts(**queue) if queue else None
        self._examples.restore(state["examples"])

    def _own_texts(self, step: Step) -> Texts:
        pairs, rows = self._setting.pairs, step.batch.rows
        number = (step.batch.draws * (pairs.starts[rows + 1] - pairs.starts[rows])).astype(np.int64)
        columns = pairs.captions_of(step.batch), rows, number
        return Texts(step.text, *(torch.from_numpy(c).to(step.text.device) for c in columns))
