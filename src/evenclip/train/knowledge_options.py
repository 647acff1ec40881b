"""Options of learning from a knowledge graph (Knowledge-CLIP)."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.options import Options

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class KnowledgeOptions(Options):
    """How the model learns from the triples of the knowledge graph, beside the pairs; a weight of 0 costs nothing."""

    e2e: Weight = 0.2
    """Weight of entity-to-entity: the masked tail, or head, is found among those of the batch."""
    e2r: Weight = 0.2
    """Weight of entity-to-relation: the masked relation is found among the graph's."""
    g2e: Weight = 0.2
    """Weight of graph-to-entity: what a graph network says of an entity is matched with the entity."""
    kd: Weight | None = None
    """Weight of distillation: the starting model's image-text distribution is kept; needs a trained `init`. null = 1
    where there is one, else 0."""
    as_captions: Weight = 0.0
    """The control: weight of the same triples as captions of their images, in CLIP's own loss; no loss above then."""
    triples_per_batch: Annotated[int, Field(ge=2)] = 32
    """Triples beside the pairs of each batch."""
    image_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Share of the triples that are about images of the batch, as far as there are any; the rest is text."""
    layers: Count = 1
    """Layers of the multi-modal Transformer, which is as wide as the wider tower; the paper's has 4 above a ViT-L."""
    region_side: Count = 2
    """Rows and columns of tokens that an image or a region is pooled to."""
    graph_layers: Annotated[int, Field(ge=1, le=3)] = 1
    """Layers of the graph network."""
    neighbours: Count = 4
    """Neighbours drawn of each entity, in each layer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of the multi-modal part; `train.lr` is that of the two towers."""
    teacher: Literal["cached", "recomputed"] = "cached"
    """`cached`: the starting model embeds each uncropped image and caption once; `recomputed`: it sees each batch."""
