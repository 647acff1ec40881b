"""Examples of mined negatives at moments spread over a training, for the report: `negatives.parquet` in the run folder.

Columns: `step`; `key` and `text` of the anchor; `negative_key` and `negative_text`; `source`: `batch`, `queue` (a past
batch) or `graph` (a false caption of `negative_key`); `similarity` (cosine) and `weight` (1 = as a plain negative).
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
SOURCES = ("batch", "queue", "graph")


@dataclass
class NegativeExamples:
    """What was recorded: ``places``, shape (m, 6), int64, and ``values``, shape (m, 2), float32.

    Places: step, pair and caption number of the anchor, source, pair and caption number of the negative.
    """

    n_steps: int
    places: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 6, dtype=torch.int64))
    values: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 2))

    def wanted(self, step: int) -> bool:
        """Whether ``step``, from 0, is one of the moments."""
        return step in np.linspace(0, self.n_steps - 1, min(N_MOMENTS, self.n_steps)).round()

    def record(self, step: int, texts: Texts, n: int, cosine: torch.Tensor, weight: torch.Tensor) -> None:
        """Keep the heaviest negatives of some images.

        ``texts``: all candidates, the batch's own ``n`` first; ``cosine`` and ``weight``, shape (n_anchors, b + q), of
        the first images of the batch.
        """
        heaviest, columns = weight.topk(min(N_NEGATIVES, weight.shape[1]), dim=1)
        anchors, which = torch.nonzero(heaviest > 0, as_tuple=True)
        found = columns[anchors, which]
        source = torch.where(texts.is_false[found], 2, (found >= n).long())
        negative, number = texts.row[found], texts.number[found]
        places = [torch.full_like(found, step), texts.row[anchors], texts.number[anchors], source, negative, number]
        values = [cosine[anchors, found], heaviest[anchors, which]]
        self.places = torch.cat([self.places, torch.stack(places, dim=1).cpu()])
        self.values = torch.cat([self.values, torch.stack(values, dim=1).float().cpu()])

    def table(self, data: Path, keys: np.ndarray, false_captions: list[str]) -> pa.Table:
        """The examples in words, with the captions of the data folder."""
        step, anchor, caption, source, negative, number = self.places.numpy().T
        named = set(keys[np.concatenate([anchor, negative])].tolist())
        pairs = read_pairs(data, ["key", "captions"]).to_pylist()
        texts = {pair["key"]: pair["captions"] for pair in pairs if pair["key"] in named}

        def text(row: int, which: int) -> str:
            return texts[keys[row]][which] if which >= 0 else false_captions[-1 - which]

        return pa.table(
            {
                "step": step + 1,
                "key": keys[anchor],
                "text": [text(*place) for place in zip(anchor, caption, strict=True)],
                "negative_key": keys[negative],
                "negative_text": [text(*place) for place in zip(negative, number, strict=True)],
                "source": [SOURCES[i] for i in source],
                "similarity": self.values[:, 0].numpy(),
                "weight": self.values[:, 1].numpy(),
            }
        )

    def state(self) -> dict[str, Any]:
        """What was recorded."""
        return {"places": self.places, "values": self.values}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was saved."""
        self.places, self.values = state["places"], state["values"]
