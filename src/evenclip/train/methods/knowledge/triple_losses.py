"""Knowledge-CLIP's losses on triples: entity-to-entity (E2E), entity-to-relation (E2R) and graph-to-entity (G2E).

Reads the folder of `evenclip graph`; `save` writes `multimodal.safetensors` and `multimodal.json` beside the model.
Source: Pan et al., "Contrastive language-image pre-training with knowledge graphs", NeurIPS 2022, section 3.3. Our
choices: an entity that a query is matched with is encoded by the multi-modal encoder with the other two slots masked;
several correct answers to a query are no negatives of each other; triples about images are those of the batch.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from evenclip.errors import InputError
from evenclip.model.multimodal import HEAD, RELATION, TAIL, MultiModalEncoder, save_multimodal
from evenclip.model.multimodal_graph import KnownTriples, MultiModalGraph, read_multimodal_graph
from evenclip.model.tokens import WHOLE, token_widths
from evenclip.train.method_options import KnowledgeOptions
from evenclip.train.methods.knowledge.masked_contrast import masked_cross_entropy, symmetric_contrast
from evenclip.train.methods.knowledge.triple_batches import Neighbourhood, NeighbourSampler, TripleBatches, positions
from evenclip.train.methods.knowledge.triple_encoding import EncodedTriples, TripleEncoding
from evenclip.train.plugin import MethodContext, Step, Term


def load_training_graph(context: MethodContext) -> MultiModalGraph:
    """Read the training split of the graph.

    Raises
    ------
    InputError
        The training crops images of which the graph knows regions, or a table is missing or names something that the
        others lack.
    """
    graph = read_multimodal_graph(context.graph, context.pairs.keys, context.data, context.clip.preprocess_cfg)
    if context.options.crop_scale_min < 1 and (graph.boxes[graph.entity_pair >= 0] != WHOLE).any():
        raise InputError("crops move the graph's regions", "train.crop_scale_min", "set it to 1 for this graph")
    return graph.of_split("train")


LOSSES = ("e2e", "e2r", "g2e")
FIRST_LOG_SCALE, LAST_LOG_SCALE = math.log(1 / 0.07), math.log(100)
"""Start and upper bound of the logarithm of the factor of cosines, as in CLIP."""


class KnowledgeTerm(Term):
    """E2E, E2R and G2E as one term; modules for a loss of weight 0 are not built.

    Parameters
    ----------
    context : MethodContext
    options : KnowledgeOptions
    """

    weight = 1.0

    def __init__(self, context: MethodContext, options: KnowledgeOptions):
        super().__init__()
        self.lr, self._options = options.lr, options
        self._weights = {name: getattr(options, name) for name in LOSSES if getattr(options, name)}
        self._graph = graph = load_training_graph(context)
        self._known = KnownTriples(graph)
        self._batches = TripleBatches(graph, options.triples_per_batch, options.image_share, context.seed)
        widths, d = token_widths(context.clip.module, context.clip.preprocess_cfg), context.clip.model_cfg["embed_dim"]
        self._encoding = TripleEncoding(context, graph, options.region_side)
        self.encoder = MultiModalEncoder(*widths, max(widths), options.layers, d)
        self.log_scale = nn.Parameter(torch.tensor(FIRST_LOG_SCALE))
        if options.e2r:
            self.to_relation = nn.Linear(max(widths), len(graph.relations))
        if options.g2e:
            from evenclip.model.gnn import GraphEncoder  # imports PyTorch Geometric, which takes a second

            self._neighbours = NeighbourSampler(graph, options.neighbours, context.seed)
            self.graph_encoder = GraphEncoder(d)

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The weighted sum of the losses, and each loss for the history."""
        batch = self._batches.at(step.position, step.batch.rows[step.local_rows])
        if batch is None:
            return step.image.new_zeros(()), {f"{name}_loss": 0.0 for name in self._weights}
        around = self._neighbours.around(np.unique(batch.entities), step.position) if self._options.g2e else None
        encoded = self._encoding.encode(step, self.encoder, batch, around)
        with step.autocast():
            losses = self._losses(encoded, around)
        total = sum(weight * losses[name] for name, weight in self._weights.items())
        return total, {f"{name}_loss": losses[name].detach() for name in self._weights}

    def save(self, folder: Path) -> None:
        """Write the multi-modal part beside the model."""
        save_multimodal(self.encoder, folder, region_side=self._options.region_side, scale=self._scale().item())

    def _losses(self, encoded: EncodedTriples, around: Neighbourhood | None) -> dict[str, torch.Tensor]:
        weights, losses = self._weights, {}
        head, relation, tail = encoded.ends(HEAD), encoded.relations, encoded.ends(TAIL)
        entity_queries = [(None, relation, tail), (head, relation, None)] if "e2e" in weights else []
        relation_queries = [(head, None, tail)] if "e2r" in weights else []
        read = list(self.encoder(*entity_queries, *relation_queries)) if entity_queries or relation_queries else []
        if "e2e" in weights or "g2e" in weights:
            keys = self._keys(encoded)
        if "e2e" in weights:
            both = [self._entity(encoded, read.pop(0)[:, key.slot], key) for key in keys]
            losses["e2e"] = sum(both) / len(both)
        if "e2r" in weights:
            losses["e2r"] = self._relation(encoded, read.pop(0)[:, RELATION])
        if "g2e" in weights:
            losses["g2e"] = self._described(encoded, around, keys)
        return losses

    def _keys(self, encoded: EncodedTriples) -> "tuple[_Keys, _Keys]":
        """The different heads and tails of a batch, each encoded with the two other slots masked."""
        distinct = [np.unique(rows, return_inverse=True) for rows in (encoded.batch.head, encoded.batch.tail)]
        head, tail = (encoded.contents.rows(encoded.tensor(rows)) for rows, _ in distinct)
        read = self.encoder((head, None, None), (None, None, tail))
        return tuple(
            _Keys(slot, *rows_and_target, self.encoder.entity(features[:, slot]))
            for slot, rows_and_target, features in zip((HEAD, TAIL), distinct, read, strict=True)
        )

    def _entity(self, encoded: EncodedTriples, read: torch.Tensor, keys: "_Keys") -> torch.Tensor:
        """E2E with the slot of ``keys`` masked: -mean log P(masked entity | the rest), among those of the batch."""
        batch = encoded.batch
        candidates = batch.contents[keys.rows]
        h, t = batch.contents[batch.head][:, None], batch.contents[batch.tail][:, None]
        h, t = (candidates, t) if keys.slot == HEAD else (h, candidates)
        masked = encoded.tensor(self._known.holds(h, batch.relation[:, None], t))
        logits = self._scale() * self.encoder.entity(read) @ keys.features.T
        return masked_cross_entropy(logits, encoded.tensor(keys.target), masked)

    def _relation(self, encoded: EncodedTriples, read: torch.Tensor) -> torch.Tensor:
        """E2R: -mean log P(relation | head, tail), among all relations of the graph."""
        batch = encoded.batch
        h, t = batch.contents[batch.head][:, None], batch.contents[batch.tail][:, None]
        masked = self._known.holds(h, np.arange(len(self._graph.relations)), t)
        return masked_cross_entropy(self.to_relation(read), encoded.tensor(batch.relation), encoded.tensor(masked))

    def _described(self, encoded: EncodedTriples, around: Neighbourhood, keys: "tuple[_Keys, _Keys]") -> torch.Tensor:
        """G2E: contrast between an entity's features and its description by the graph network, both ways."""
        batch, graph = encoded.batch, self._graph
        edge_index = encoded.tensor(np.stack([around.source, around.target]))
        relation = encoded.edge * encoded.tensor(around.sign)[:, None]
        described = F.normalize(self.graph_encoder(encoded.node, edge_index, relation).float(), dim=-1)
        node = positions(batch.entities, around.nodes)  # an entity shown as text and as image is one node
        signature, described = around.signatures(graph.entity_text)[node], described[encoded.tensor(node)]
        # the text of a region has no node of its own: it stands for all regions with this name
        is_node = (batch.contents >= len(graph.texts)) | ~graph.is_particular[batch.entities]
        usable = is_node & (signature != 0)
        losses = []
        for key in keys:
            kept = usable[key.rows]
            rows = key.rows[kept]
            if len(rows) > 1:
                same = encoded.tensor(signature[rows][:, None] == signature[rows])
                first, second = key.features[encoded.tensor(kept)], described[encoded.tensor(rows)]
                losses.append(symmetric_contrast(first, second, self._scale(), same))
        return sum(losses) / len(losses) if losses else described.sum() * 0

    def _scale(self) -> torch.Tensor:
        return self.log_scale.clamp(max=LAST_LOG_SCALE).exp()


@dataclass(frozen=True)
class _Keys:
    """The k different contents at one ``slot`` of a batch's triples.

    ``rows``, shape (k,), of `TripleBatch.contents`; ``target``, (t,): the key of each triple; ``features``, (k, d),
    unit.
    """

    slot: int
    rows: np.ndarray
    target: np.ndarray
    features: torch.Tensor
