"""What a step's triples show, encoded once: texts by the text tower, images and regions from the batch's own encoding.

Reads and writes nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from evenclip.model.multimodal import HEAD, TEXT_TOKENS, MultiModalEncoder, Slot, join
from evenclip.model.shown_graph import ShownGraph
from evenclip.model.tokens import Grid, TokenTap, last_text_tokens
from evenclip.train.methods.knowledge.triple_batches import Neighbourhood, TripleBatch, positions
from evenclip.train.plugin import MethodContext, Step

SHORT = 8  # tokens; longer texts are encoded apart, for all of a call are as long as its longest


@dataclass(frozen=True)
class EncodedTriples:
    """t triples with the c things that they show.

    ``shown``, of c rows, as `TripleBatch.contents`; ``relations``, of t rows; ``node``, ``edge``: unit text features of
    the neighbourhood's nodes (0 without text) and of its edges' relations, shapes (n, d), None without neighbourhood.
    """

    batch: TripleBatch
    shown: Slot
    relations: Slot
    node: torch.Tensor | None
    edge: torch.Tensor | None

    def ends(self, slot: int) -> Slot:
        """What is shown at the slot `HEAD` or `TAIL` of each triple."""
        return self.shown.rows(self.tensor(self.batch.head if slot == HEAD else self.batch.tail))

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """An array, on the device of the features."""
        return torch.from_numpy(array).to(self.shown.features.device)


class TripleEncoding:
    """Encodes the triples of each step.

    Parameters
    ----------
    context : MethodContext
    graph : ShownGraph
    region_side : int
        Rows and columns of tokens of an image or region.
    """

    def __init__(self, context: MethodContext, graph: ShownGraph, region_side: int):
        self._graph, self._region_side, self._tap = graph, region_side, TokenTap(context.clip.module)
        self._tokens = context.tokens(graph.texts)
        self._length = self._tokens.argmax(dim=1).numpy() + 1  # only right for CLIP's tokenizer; others are not trimmed

    def encode(
        self, step: Step, encoder: MultiModalEncoder, batch: TripleBatch, around: Neighbourhood | None
    ) -> EncodedTriples:
        """Encode a step's triples, with gradients to both towers and to ``encoder``."""
        grid, graph = self._grid(step), self._graph
        needed = self._texts_needed(batch, around)
        pooled, sequence, is_shown = self._encode_texts(step, needed)

        def rows(texts: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.searchsorted(needed, texts)).to(pooled.device)

        node = edge = None
        if around is not None:
            text = graph.entity_text[around.nodes]
            node = pooled[rows(text)] * torch.from_numpy(text >= 0).to(pooled.device)[:, None]
            edge = pooled[rows(graph.relation_text[around.relation])]
        with step.autocast():
            texts = encoder.text(sequence, is_shown)
            n_texts = int(np.searchsorted(batch.contents, len(graph.texts)))
            slots = [texts.rows(rows(batch.contents[:n_texts]))] if n_texts else []
            if n_texts < len(batch.contents):
                slots.append(self._regions(step, encoder, grid, batch.contents[n_texts:] - len(graph.texts)))
            relations = texts.rows(rows(graph.relation_text[batch.relation]))
        return EncodedTriples(batch, join(slots), relations, node, edge)

    def _encode_texts(self, step: Step, texts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unit features (k, d), last tokens' features (k, l, w) and which are shown (k, l), short texts apart."""
        is_long = self._length[texts] > SHORT
        pooled, kept, shown, order = [], [], [], []
        for group in (np.flatnonzero(~is_long), np.flatnonzero(is_long)):
            if len(group):
                tokens = self._tokens[torch.from_numpy(texts[group])]
                pooled.append(step.encode_text(tokens))
                features, is_shown = last_text_tokens(step.module, tokens, self._tap.text, TEXT_TOKENS)
                kept.append(F.pad(features, (0, 0, 0, TEXT_TOKENS - features.shape[1])))
                shown.append(F.pad(is_shown, (0, TEXT_TOKENS - features.shape[1])))
                order.append(group)
        self._tap.clear()
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(pooled[0].device)
        return torch.cat(pooled)[back], torch.cat(kept)[back], torch.cat(shown)[back]

    def _grid(self, step: Step) -> Grid:
        """Feature maps of the batch's images: those of the contrastive loss, or, were these made in parts, anew."""
        if self._tap.image is None or len(self._tap.image.grid) != len(step.batch.rows[step.local_rows]):
            step.encode_image(step.images)
        return self._tap.image

    def _texts_needed(self, batch: TripleBatch, around: Neighbourhood | None) -> np.ndarray:
        """Rows of the graph's texts, sorted."""
        graph = self._graph
        needed = [batch.contents[batch.contents < len(graph.texts)], graph.relation_text[batch.relation]]
        if around is not None:
            needed += [graph.entity_text[around.nodes], graph.relation_text[around.relation]]
        needed = np.unique(np.concatenate(needed))
        return needed[needed >= 0]

    def _regions(self, step: Step, encoder: MultiModalEncoder, grid: Grid, entities: np.ndarray) -> Slot:
        """The images of ``entities``, as far as their boxes go."""
        rows = step.batch.rows[step.local_rows]
        image = torch.from_numpy(positions(self._graph.entity_pair[entities], rows)).to(grid.grid.device)
        return encoder.regions(grid, image, self._graph.boxes[entities], self._region_side)
