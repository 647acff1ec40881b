"""Options of the training stage, and of every method."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from evenclip.options import Options

Share = Annotated[float, Field(ge=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0)]


def _ordered(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] >= band[1]:
        raise ValueError(f"the band [{band[0]:g}, {band[1]:g}] is empty: write [LOW, HIGH]")
    return band


Band = Annotated[tuple[Share, Share], AfterValidator(_ordered)]


class AhnmOptions(Options):
    """Which negatives count, and how much, as the training goes on."""

    band_start: Band = (0.0, 1.0)
    """Difficulties that are mined at the start: percentiles of similarity among an anchor's candidates, 1 = hardest."""
    band_end: Band = (0.0, 1.0)
    """Difficulties that are mined at the end; between, the band moves with the training's clock."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Mined negatives of an anchor: the hardest of the band; null = all of it."""
    sharpness_start: AtLeastZero = 0.0
    """How much more harder negatives weigh, at the start (beta): 0 = all alike."""
    sharpness_end: AtLeastZero = 0.5
    """How much more harder negatives weigh, at the end; 1 = in proportion to their share of the softmax."""
    strength_start: Share = 0.0
    """Share of an anchor's weight that its mined negatives have, at the start; all others share the rest evenly."""
    strength_end: Share = 1.0
    """The same at the end. A model that has learnt nothing and sees hard negatives alone never learns."""
    focus: AtLeastZero = 2.0
    """Power of (1 - p) that shrinks the weight of negatives which the model is sure of (p near 1)."""
    max_weight: Annotated[float, Field(ge=1)] = 10.0
    """A weight is at most so many times, and at least one so-many-th of, the anchor's geometric mean."""
    queue: Annotated[int, Field(ge=0)] = 0
    """Texts of past batches that are candidates too; for towers that change slowly. A model that starts untrained tells
    them from the batch's by their age, and learns nothing else."""
    graph_texts: Share = 1.0
    """Share of the batch's pairs whose false captions, written by `evenclip graph`, are candidates too."""
    fair: bool = True
    """Among what is mined each perceived group keeps the share that it has in the batch (needs a labels table)."""


Rate = Annotated[float, Field(ge=0, le=1)]


class EfficientClOptions(Options):
    """How strongly hidden states are disturbed: a rate that grows with the training's clock."""

    start: Rate = 0.01
    """Rate at the start, of both towers: the share of a sequence that is cut, and the deviation of the jitter."""
    image_end: Rate = 0.1
    """Rate of the image tower at the end."""
    text_end: Rate = 0.3
    """Rate of the text tower at the end; captions are short."""
    levels: Annotated[int, Field(ge=2)] | None = 10
    """The rate grows in so many equal steps; null = continuously."""


class FclOptions(Options):
    """A loss on the association of perceived groups with labels, as the model sees them while it is trained."""

    weight: Annotated[float, Field(gt=0)] = 0.02
    """Weight of the loss (lambda)."""
    prompts: str
    """Prompt file of the labels, e.g. config/prompts/occupations.yaml."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What a past batch counts, relative to the one after it; groups are too rare for a batch alone."""


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


class ProbeOptions(Options):
    """At which moments, and on what, the model's bias is measured while it is trained."""

    images: str
    """Folder of image-text shards of random images, for RB, e.g. data/world/unmarked."""
    groups: str
    """Prompt file of the values of the perceived attribute, for RB."""
    people: str
    """Folder of image-text shards of people, for AB, e.g. data/world/people."""
    column: str
    """Its truth column with the perceived attribute."""
    labels: str
    """Prompt file of the labels, for AB."""
    points: Annotated[int, Field(ge=2)] = 20
    """Moments, evenly spaced from the first step to the end."""
    n_images: Annotated[int, Field(ge=2)] = 500
    """At most so many images of each folder, evenly spread over it."""

    def files(self) -> dict[str, str]:
        """The files and folders that are read."""
        return {"probe groups": self.groups, "probe labels": self.labels} | self.folders()

    def folders(self) -> dict[str, str]:
        """The folders that are read."""
        return {"probe images": self.images, "probe people": self.people}


class SimClipOptions(Options):
    """Batches that are partly made of clusters of similar pairs; `mask_true` goes well with them."""

    cluster_size: Annotated[int, Field(ge=2)] = 16
    """Pairs in a cluster: a pivot and its neighbours."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a batch that is made of clusters; the rest is as without SimCLIP."""
    neighbourhood: Annotated[int, Field(ge=1)] = 1
    """A pivot's neighbours are drawn from its `cluster_size * neighbourhood` nearest."""
    modality: Literal["text", "image"] = "text"
    """What is similar; pairs with equal captions are one neighbour."""
    online: bool = True
    """Embed anew in the middle of each epoch, for the next one; false: once, before the first batch."""
    doublings: Annotated[int, Field(ge=0)] = 0
    """Warm-up: how often `share` doubles, at equal distances, before it is full; 0 = full from the start."""


class StagesOptions(Options):
    """A training that changes its data: first the pairs of other weights, then those of its own strategy."""

    first: str
    """Weights of the first stage: a strategy of the study, or the path of a weights.parquet."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps that the first stage has."""


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class TrainOptions(Options):
    """How a model is trained; every run of a study sees the same number of samples."""

    model: str = "config/models/world_tiny.json"
    """An open_clip name, or the path of a JSON model configuration; it fixes the image size and the context length."""
    init: str = "random"
    """Where the weights start: `random`, an open_clip tag, or the path of a checkpoint, in which `{seed}` stands for
    the seed of the training."""
    objective: Literal["clip", "siglip"] = "clip"
    """`clip`: softmax over the batch; `siglip`: a sigmoid for each pair, with a learnt bias."""
    samples_seen: Count = 30_000
    """Image-text pairs shown in all, whatever the strategy keeps; rounded up to whole batches."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Pairs in a batch; each is a negative of all others."""
    micro_batch_size: Count | None = None
    """Pairs encoded at a time, in each process, with all activations in memory; `null` = its whole share of the batch.
    Smaller ones give the same gradients from less memory, and cost another forward pass (GradCache)."""
    lr: Positive = 1e-3
    """Highest learning rate: reached after the warm-up, then lowered to 0 along a cosine."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """AdamW's decay of matrices; gains, biases and the logit scale have none."""
    clip_norm: Positive = 1.0
    """Largest norm of the gradient."""
    mask_true: bool = False
    """A text that is known to be true of a picture is no negative of it. Known are the picture's own captions, and what
    the graph, if there is one, says of the picture's regions."""
    crop_scale_min: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of an image's area that a random crop keeps; 1 = no crops."""
    freeze: list[Literal["image", "text"]] = []
    """Towers that stay as they are."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay by step of a moving average of the weights, which is then the trained model; `null` = the last weights."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`bf16`, `fp16`: matrix products in 16 bits, weights in 32; `auto`: bf16 where the processor has it built in."""
    compile: bool = False
    """Compile the towers with torch.compile: slow to start, faster afterwards, mostly on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device where there is one."""
    threads: Count = 1
    """CPU threads of each process; equal weights bit by bit need an equal number."""
    cache_mb: Annotated[float, Field(ge=0)] = 4096
    """Memory for decoded images, in each process; a larger set is decoded again for every batch, from the shards."""
    log_every: Count = 10
    """Steps between rows of the history."""
    save_every_s: Positive = 30.0
    """Seconds between saved states, from which an interrupted training continues."""
    knowledge: KnowledgeOptions | None = None
    """Knowledge-CLIP: learning from the knowledge graph too; `{}` = with its defaults."""
    simclip: SimClipOptions | None = None
    """SimCLIP: batches with clusters of similar pairs; `{}` = with its defaults."""
    ahnm: AhnmOptions | None = None
    """Adaptive hard negative mining; `{}` = with its defaults."""
    efficientcl: EfficientClOptions | None = None
    """EfficientCL: hidden states are cut and jittered while a batch is encoded; `{}` = with its defaults."""
    fcl: FclOptions | None = None
    """Fair contrastive loss: `{prompts: FILE}`; needs a labels table."""
    stages: StagesOptions | None = None
    """Two stages: `{first: STRATEGY, share: 0.1}`."""
    probe: ProbeOptions | None = None
    """Measure the model's bias along the training; null = not."""

    def of_seed(self, seed: int | str) -> Self:
        """The options of the training with this seed: each may start from a checkpoint of its own."""
        return self.model_copy(update={"init": self.init.replace("{seed}", str(seed))})

    def files(self) -> dict[str, str]:
        """The files that these options name, by what they are: their content decides the model too."""
        models, suffixes = {"model": self.model, "init": self.init}, (".json", ".safetensors", ".pt", ".pth", ".bin")
        found = {name: path for name, path in models.items() if path.endswith(suffixes)}
        found |= {"fcl prompts": self.fcl.prompts} if self.fcl else {}
        found |= self.probe.files() if self.probe else {}
        return found | ({"first weights": self.stages.first} if self.stages else {})
