"""Options of every training method; loads no torch.

A method is declared here once, by its options class, and by one field of `evenclip.train.options.TrainOptions`. Schema,
command line, study checks, bias cards and documents take names, titles and needs from there; `evenclip.train.plugin`
says how to add one.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from evenclip.options import Count, NonNegative, Options, Positive, Share

PositiveShare = Annotated[float, Field(gt=0, le=1)]
TwoOrMore = Annotated[int, Field(ge=2)]

INPUTS = {"labels": "the labels table of `evenclip label`", "graph": "the folder of `evenclip graph`"}
"""What a training can be given beside its pairs: the argument of `evenclip train`, and what it holds."""


class ReadingOptions(Options):
    """A block of options that may name files and folders."""

    def files(self) -> dict[str, str]:
        """Files that are written by hand, by what they hold: an edit changes the trained model."""
        return {}

    def stage_outputs(self) -> dict[str, str]:
        """Files and folders that other stages write, by what they hold."""
        return {}


class MethodOptions(ReadingOptions):
    """Options of one training method."""

    title: ClassVar[str]
    """Name of the method in a report, e.g. "fair contrastive loss (FCL)"."""
    summary: ClassVar[str]
    """What the method does, in a few words."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Keys of `INPUTS` without which the method cannot work."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Keys of `INPUTS` that the method uses where the study has them."""

    def learns_links(self) -> bool:
        """Whether the training leaves an encoder that predicts links of the knowledge graph (`evenclip links`)."""
        return False

    def looks_inside_towers(self) -> bool:
        """Whether the method needs more of a tower than its features of whole images and texts."""
        return False

    def with_weights_of(self, strategies: Mapping[str, str]) -> Self:
        """The options with the names of balancing strategies replaced by the paths of their weights."""
        return self


class AhnmOptions(MethodOptions):
    """Adaptive hard negative mining (AHNM): harder negatives count more, increasingly so during the training."""

    title = "adaptive hard negative mining (AHNM)"
    summary = "hard negatives count more, and perceived groups keep their share of them"
    uses = frozenset({"labels", "graph"})

    sharpness_start: NonNegative = 0.0
    """How strongly weights grow with hardness at the start (beta): 0 = all negatives weigh the same."""
    sharpness_end: NonNegative = 0.5
    """The same at the end; 1 = weights proportional to a negative's share of the softmax."""
    strength_start: Share = 0.0
    """Share of the total weight that follows hardness at the start; the rest is spread evenly. It grows to 1. A model
    that has learnt nothing yet and sees only hard negatives never learns."""
    focus: NonNegative = 2.0
    """Exponent of (1 - p), which reduces the weight of negatives that the model is sure of (p near 1)."""
    max_weight: Annotated[float, Field(ge=1)] = 10.0
    """Weights are clipped to [mean / max_weight, mean * max_weight], mean = geometric mean of the anchor's weights."""
    graph_texts: Share = 1.0
    """Share of the pairs in a batch for which a false caption, written by `evenclip graph`, is added as a negative."""
    fair: bool = True
    """Each perceived group keeps its share of the batch's negatives after weighting (needs a labels table)."""


class EfficientClOptions(MethodOptions):
    """EfficientCL: hidden states of both towers are cut and jittered, at a rate that grows during the training."""

    title = "hidden-state augmentation (EfficientCL)"
    summary = "hidden states are cut and jittered, at a growing rate"

    start: Share = 0.01
    """Rate at the start in both towers: the share of a sequence that is cut, and the standard deviation of the jitter.
    """
    image_end: Share = 0.1
    """Rate in the image tower at the end."""
    text_end: Share = 0.3
    """Rate in the text tower at the end; lower it for short captions."""

    def looks_inside_towers(self) -> bool:
        """Yes: hidden states are cut and jittered."""
        return True


class FclOptions(MethodOptions):
    """Fair contrastive loss (FCL): a loss on the association of perceived groups with labels in the trained model."""

    title = "fair contrastive loss (FCL)"
    summary = "a loss on the model's association of perceived groups with labels"
    needs = frozenset({"labels"})

    weight: Positive = 0.02
    """Weight of the loss (lambda)."""
    prompts: str
    """Prompt file of the labels, e.g. config/prompts/occupations.yaml."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Weight of a past batch relative to the one after it: a single batch shows too few people of each group."""

    def files(self) -> dict[str, str]:
        """The prompt file."""
        return {"fcl prompts": self.prompts}


class KnowledgeOptions(MethodOptions):
    """Knowledge-CLIP: losses on triples of the knowledge graph beside the pairs; a loss of weight 0 costs nothing."""

    title = "learning from a knowledge graph (Knowledge-CLIP)"
    summary = "losses on the triples of a knowledge graph"
    needs = frozenset({"graph"})

    e2e: NonNegative = 0.2
    """Weight of the entity-to-entity loss: find the masked head or tail of a triple among those of the batch."""
    e2r: NonNegative = 0.2
    """Weight of the entity-to-relation loss: find the masked relation among all relations of the graph."""
    g2e: NonNegative = 0.2
    """Weight of the graph-to-entity loss: match an entity with its description by a graph network."""
    kd: NonNegative | None = None
    """Weight of knowledge distillation: keep the image-text distribution of the initial model, which must be trained
    (`init`); null = 1 if it is, else 0."""
    as_captions: NonNegative = 0.0
    """Control: weight of CLIP's own loss on the same triples written as captions of their images; replaces the other
    losses."""
    triples_per_batch: TwoOrMore = 32
    """Triples in each step, beside the pairs."""
    image_share: Share = 0.75
    """Share of these triples that are about images of the batch, if there are enough; the others are text only."""
    layers: Count = 1
    """Layers of the multi-modal Transformer, whose width is that of the wider tower; the paper uses 4 with a ViT-L."""
    region_side: Count = 2
    """An image or a region is pooled to region_side x region_side tokens."""
    neighbours: Count = 4
    """Neighbours that are drawn to describe an entity in the graph network."""
    lr: Positive = 1e-3
    """Highest learning rate of the multi-modal part; `train.lr` is that of the towers."""
    teacher: Literal["cached", "recomputed"] = "cached"
    """Distillation targets: `cached` embeds every uncropped image and every caption once before the training;
    `recomputed` embeds each batch as the model sees it."""

    def learns_links(self) -> bool:
        """Whether the entity-to-entity loss is on."""
        return self.e2e > 0 and not self.as_captions

    def looks_inside_towers(self) -> bool:
        """Whether entities are shown as parts of images."""
        return not self.as_captions


class SimClipOptions(MethodOptions):
    """SimCLIP: batches that contain clusters of similar pairs; best combined with `mask_true`."""

    title = "batches of similar pairs (SimCLIP)"
    summary = "batches contain clusters of similar pairs"

    cluster_size: TwoOrMore = 16
    """Pairs in a cluster: a pivot and its nearest neighbours."""
    share: PositiveShare = 1.0
    """Share of a batch that consists of clusters; the rest is drawn as without SimCLIP."""
    modality: Literal["text", "image"] = "text"
    """Which features are compared; with `text`, pairs with equal captions count as one neighbour."""
    online: bool = True
    """Search neighbours anew for every epoch, among features from the middle of the epoch before; false: only once,
    before the first batch."""


class StagesOptions(MethodOptions):
    """Two stages: the training starts with the pairs of another balancing strategy."""

    title = "two-stage training"
    summary = "the first part of the training shows the pairs of another balancing strategy"

    first: str
    """Weights of the first stage: a strategy of the study, or the path of a weights.parquet."""
    share: Share = 0.1
    """Share of the steps in the first stage."""

    def stage_outputs(self) -> dict[str, str]:
        """The weights of the first stage."""
        return {"first weights": self.first}

    def with_weights_of(self, strategies: Mapping[str, str]) -> Self:
        """The options with the path of the first stage's weights."""
        return self.model_copy(update={"first": strategies.get(self.first, self.first)})
