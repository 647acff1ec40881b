"""Examples of mined negatives for the report, recorded during a training: `negatives.parquet` in the run folder.

Columns: `step`; `key` and `text` of the anchor; `negative_key` and `negative_text`; `source`: `batch`, or `graph` for a
false caption of `negative_key`; `similarity` (cosine) and `weight` (1 = as a plain negative).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evenclip.data.shards import read_pairs
from evenclip.train.methods.ahnm.candidates import Texts

N_MOMENTS, N_ANCHORS, N_NEGATIVES = 20, 4, 3


@dataclass
class NegativeExamples:
    """m recorded examples: ``numbers``, shape (m, 5), int64, and ``values``, shape (m, 2), float32.

    Numbers: step, pair and caption of the anchor, pair and caption of the negative (below 0 = a false caption). Values:
    similarity and weight.
    """

    n_steps: int
    numbers: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 5, dtype=torch.int64))
    values: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 2))

    def wanted(self, step: int) -> bool:
        """Whether examples of ``step``, counted from 0, should be recorded."""
        return step in np.linspace(0, self.n_steps - 1, min(N_MOMENTS, self.n_steps)).round()

    def record(self, step: int, texts: Texts, cosine: torch.Tensor, weight: torch.Tensor) -> None:
        """Keep the heaviest negatives of some images.

        ``texts``: all candidates, the batch's own first; ``cosine`` and ``weight``, shape (n_anchors, n_texts), of the
        first images of the batch.
        """
        heaviest, columns = weight.topk(min(N_NEGATIVES, weight.shape[1]), dim=1)
        anchors, rank = torch.nonzero(heaviest > 0, as_tuple=True)
        chosen = columns[anchors, rank]
        steps = torch.full_like(chosen, step)
        numbers = [steps, texts.row[anchors], texts.number[anchors], texts.row[chosen], texts.number[chosen]]
        values = [cosine[anchors, chosen], heaviest[anchors, rank]]
        self.numbers = torch.cat([self.numbers, torch.stack(numbers, dim=1).cpu()])
        self.values = torch.cat([self.values, torch.stack(values, dim=1).float().cpu()])

    def table(self, data: Path, keys: np.ndarray, false_captions: list[str]) -> pa.Table:
        """The examples in words, with the captions of the data folder."""
        step, anchor, caption, negative, number = self.numbers.numpy().T
        named = set(keys[np.concatenate([anchor, negative])].tolist())
        pairs = read_pairs(data, ["key", "captions"]).to_pylist()
        captions = {pair["key"]: pair["captions"] for pair in pairs if pair["key"] in named}

        def text(row: int, number: int) -> str:
            return captions[keys[row]][number] if number >= 0 else false_captions[-1 - number]

        return pa.table(
            {
                "step": step + 1,
                "key": keys[anchor],
                "text": [text(*cell) for cell in zip(anchor, caption, strict=True)],
                "negative_key": keys[negative],
                "negative_text": [text(*cell) for cell in zip(negative, number, strict=True)],
                "source": np.where(number < 0, "graph", "batch"),
                "similarity": self.values[:, 0].numpy(),
                "weight": self.values[:, 1].numpy(),
            }
        )

    def state(self) -> dict[str, Any]:
        """The examples."""
        return {"numbers": self.numbers, "values": self.values}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self.numbers, self.values = state["numbers"], state["values"]
