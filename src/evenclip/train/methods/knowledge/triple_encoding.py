"""Encodes the contents of a step's triples: texts by the text tower, images and regions from the encoded batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from evenclip.model.multimodal import HEAD, TEXT_TOKENS, MultiModalEncoder, Slot, join
from evenclip.model.multimodal_graph import MultiModalGraph
from evenclip.model.tokens import Grid, TokenTap, last_text_tokens
from evenclip.train.methods.knowledge.triple_batches import Neighbourhood, TripleBatch, positions
from evenclip.train.plugin import MethodContext, Step

SHORT = 8  # tokens; longer texts are encoded separately, because a call pads all texts to its longest


@dataclass(frozen=True)
class EncodedTriples:
    """t encoded triples with their c different contents.

    ``contents``: the c contents, as in `TripleBatch.contents`; ``relations``: the t relations; ``node`` and ``edge``:
    unit text features of the nodes of the neighbourhood (0 without text) and of the relations of its edges, shapes
    (n, d) and (n_edges, d); None without a neighbourhood.
    """

    batch: TripleBatch
    contents: Slot
    relations: Slot
    node: torch.Tensor | None
    edge: torch.Tensor | None

    def ends(self, slot: int) -> Slot:
        """The content at the slot `HEAD` or `TAIL` of each triple."""
        return self.contents.rows(self.tensor(self.batch.head if slot == HEAD else self.batch.tail))

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """An array as a tensor on the device of the features."""
        return torch.from_numpy(array).to(self.contents.features.device)


class TripleEncoding:
    """Encodes the triples of each step.

    Parameters
    ----------
    context : MethodContext
    graph : MultiModalGraph
    region_side : int
        Rows and columns of tokens that an image or region is pooled to.
    """

    def __init__(self, context: MethodContext, graph: MultiModalGraph, region_side: int):
        self._graph, self._region_side, self._tap = graph, region_side, TokenTap(context.clip.module)
        self._tokens = context.tokens(graph.texts)
        self._length = self._tokens.argmax(dim=1).numpy() + 1  # valid for CLIP's tokenizer; other texts are not trimmed

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
        """Unit features (k, d), features of the last tokens (k, l, w) and their mask (k, l), short texts separately."""
        is_long = self._length[texts] > SHORT
        pooled, kept, masks, order = [], [], [], []
        for group in (np.flatnonzero(~is_long), np.flatnonzero(is_long)):
            if len(group):
                tokens = self._tokens[torch.from_numpy(texts[group])]
                pooled.append(step.encode_text(tokens))
                features, is_shown = last_text_tokens(step.module, tokens, self._tap.text, TEXT_TOKENS)
                kept.append(F.pad(features, (0, 0, 0, TEXT_TOKENS - features.shape[1])))
                masks.append(F.pad(is_shown, (0, TEXT_TOKENS - features.shape[1])))
                order.append(group)
        self._tap.clear()
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(pooled[0].device)
        return torch.cat(pooled)[back], torch.cat(kept)[back], torch.cat(masks)[back]

    def _grid(self, step: Step) -> Grid:
        """Feature maps of the local images: those kept from the contrastive loss, or new ones after micro batches."""
        if self._tap.image is None or len(self._tap.image.grid) != len(step.batch.rows[step.local_rows]):
            step.encode_image(step.images)
        return self._tap.image

    def _texts_needed(self, batch: TripleBatch, around: Neighbourhood | None) -> np.ndarray:
        """The texts that must be encoded, as sorted rows of the graph's texts."""
        graph = self._graph
        needed = [batch.contents[batch.contents < len(graph.texts)], graph.relation_text[batch.relation]]
        if around is not None:
            needed += [graph.entity_text[around.nodes], graph.relation_text[around.relation]]
        needed = np.unique(np.concatenate(needed))
        return needed[needed >= 0]

    def _regions(self, step: Step, encoder: MultiModalEncoder, grid: Grid, entities: np.ndarray) -> Slot:
        """The image regions of ``entities``."""
        rows = step.batch.rows[step.local_rows]
        image = torch.from_numpy(positions(self._graph.entity_pair[entities], rows)).to(grid.grid.device)
        return encoder.regions(grid, image, self._graph.boxes[entities], self._region_side)
