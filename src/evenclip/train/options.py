"""Options of the training stage; loads no torch."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from evenclip.errors import InputError
from evenclip.model.identity import CHECKPOINT_SUFFIXES, named_files
from evenclip.options import BatchSize, Count, NonNegative, Options, Positive, Threads
from evenclip.train.method_options import (
    AhnmOptions,
    EfficientClOptions,
    FclOptions,
    KnowledgeOptions,
    MethodOptions,
    PositiveShare,
    ReadingOptions,
    SimClipOptions,
    StagesOptions,
    TwoOrMore,
)

Tower = Literal["image", "text"]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class BiasProbeOptions(ReadingOptions):
    """When, and on which images, the bias of the model is measured during the training."""

    images: str
    """Folder of image-text shards of random images, for representation bias (RB), e.g. data/world/unmarked."""
    groups: str
    """Prompt file of the values of the perceived attribute, for RB."""
    people: str
    """Folder of image-text shards of people, for association bias (AB), e.g. data/world/people."""
    column: str
    """Truth column of `people` that holds the perceived attribute."""
    labels: str
    """Prompt file of the labels, for AB."""
    points: TwoOrMore = 20
    """Number of measurements, evenly spaced from the first step to the end."""
    n_images: TwoOrMore = 500
    """Largest number of images taken from each folder, evenly spread over it."""

    def files(self) -> dict[str, str]:
        """The two prompt files."""
        return {"probe groups": self.groups, "probe labels": self.labels}

    def stage_outputs(self) -> dict[str, str]:
        """The two folders of images."""
        return {"probe images": self.images, "probe people": self.people}


class TrainOptions(Options):
    """How a model is trained; every run of a study sees the same number of samples."""

    model: str = "config/models/world_tiny.json"
    """An open_clip model name, the path of a JSON model configuration or of a model folder (of `evenclip train`, or of
    the Hugging Face Hub), or `hf-hub:ORG/NAME`; it sets image size and context length."""
    init: str = "random"
    """Initial weights: `random`, an open_clip tag, `hf-hub:ORG/NAME` (the same as `model`), or the path of a checkpoint
    or model folder, where `{seed}` stands for the seed of the training."""
    fresh_projections: bool = False
    """Draw the last projections of both towers anew from the seed; `init` gives the rest."""
    objective: Literal["clip", "siglip"] = "clip"
    """`clip`: softmax over the batch; `siglip`: a sigmoid for each image-text pair, with a learnt bias."""
    samples_seen: Count = 30_000
    """Image-text pairs shown in all, whatever the strategy keeps; rounded up to whole batches."""
    batch_size: BatchSize = 64
    """Pairs in a batch; every pair is a negative of all others."""
    twins: str | None = None
    """Column of the data whose value two pairs share if they are twins, e.g. `twin` in the embedded world. Twins are
    shown in the same batch, as negatives of each other; clusters of SimCLIP are formed without regard to it."""
    micro_batch_size: Count | None = None
    """Pairs encoded together in each process, with all activations in memory; null = the process's share of the batch.
    Smaller values give the same gradients with less memory, for one more forward pass (GradCache); not with batch
    normalisation in a tower that is trained as a whole."""
    lr: Positive = 1e-3
    """Highest learning rate: reached after the warm-up, then lowered to 0 along a cosine."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: NonNegative = 0.1
    """AdamW's weight decay of matrices; gains, biases and the logit scale have none."""
    clip_norm: Positive = 1.0
    """Largest norm of the gradient; longer gradients are clipped."""
    mask_true: bool = False
    """Texts that are known to be true of an image are not used as its negatives. Known are the image's own captions
    and, if there is a graph, what it says of the image's regions."""
    crop_scale_min: PositiveShare = 1.0
    """Smallest share of an image's area that a random crop keeps; 1 = no crops."""
    freeze: list[Literal["image", "text", "image_trunk", "text_trunk"]] = []
    """Parts that are not trained. `image`, `text`: a whole tower; `image_trunk`, `text_trunk`: all of it but its last
    projection. With both trunks frozen, `evenclip features` can compute them once for all trainings."""
    last_blocks: dict[Tower, Count] = {}
    """Last blocks of a frozen trunk that are trained all the same, e.g. `{image: 2, text: 1}`; the statistics of their
    batch normalisation stay."""
    trunk_lr: dict[Tower, Positive] = {}
    """Highest learning rate of a trunk, as a multiple of `lr`, e.g. `{image: 0.1, text: 0.1}`: pretrained trunks forget
    at a rate that new projections need."""
    ema: OpenShare | None = None
    """Decay per step of a moving average of the weights, which becomes the trained model; null = the last weights."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`bf16`, `fp16`: matrix products in 16 bits, weights in 32; `auto`: bf16 where the hardware supports it natively.
    """
    compile: bool = False
    """Compile the towers with torch.compile: slow to start, then faster, mostly on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device where there is one."""
    threads: Threads = 1
    """CPU threads of each process; weights are reproduced bit by bit only with the same number."""
    cache_mb: NonNegative = 4096
    """Memory for decoded images in each process; a larger set is decoded again from the shards for every batch."""
    log_every: Count = 10
    """Steps between two rows of the history."""
    save_every_s: Positive = 30.0
    """Seconds between two saved states, from which an interrupted training continues."""
    knowledge: KnowledgeOptions | None = None
    """Knowledge-CLIP: learn from the knowledge graph too; `{}` = with its defaults."""
    simclip: SimClipOptions | None = None
    """SimCLIP: batches that contain clusters of similar pairs; `{}` = with its defaults."""
    ahnm: AhnmOptions | None = None
    """Adaptive hard negative mining; `{}` = with its defaults."""
    efficientcl: EfficientClOptions | None = None
    """EfficientCL: hidden states are cut and jittered; `{}` = with its defaults."""
    fcl: FclOptions | None = None
    """Fair contrastive loss: `{prompts: FILE}`; needs a labels table."""
    stages: StagesOptions | None = None
    """Two stages: `{first: STRATEGY, share: 0.1}`."""
    bias_probe: BiasProbeOptions | None = None
    """Measure the model's bias during the training (bias probe); null = do not."""

    @classmethod
    def method_classes(cls) -> dict[str, type[MethodOptions]]:
        """The options class of every method, by the name of its block."""
        return {
            name: candidate
            for name, field in cls.model_fields.items()
            for candidate in get_args(field.annotation)
            if isinstance(candidate, type) and issubclass(candidate, MethodOptions)
        }

    def methods(self) -> dict[str, MethodOptions]:
        """The options of the methods that are switched on, by name."""
        blocks = {name: getattr(self, name) for name in self.method_classes()}
        return {name: block for name, block in blocks.items() if block is not None}

    def needs(self, name: str) -> bool:
        """Whether the training cannot do without the input ``name``, a key of `INPUTS`."""
        return any(name in method.needs for method in self.methods().values())

    def uses(self, name: str) -> bool:
        """Whether the training uses the input ``name``, a key of `INPUTS`, where there is one."""
        is_used = self.needs(name) or any(name in method.uses for method in self.methods().values())
        return is_used or (name == "graph" and self.mask_true)

    def of_seed(self, seed: int | str) -> Self:
        """The options of the training with this seed: each may start from a checkpoint of its own."""
        return self.model_copy(update={"init": self.init.replace("{seed}", str(seed))})

    def with_weights_of(self, strategies: Mapping[str, str]) -> Self:
        """The options with the names of balancing strategies replaced by the paths of their weights."""
        replaced = {name: method.with_weights_of(strategies) for name, method in self.methods().items()}
        return self.model_copy(update=replaced)

    def trunks(self) -> str:
        """The initial model, as `evenclip.model.clip.load_clip` takes it."""
        is_whole = "/" in self.init or self.init == self.model
        return self.init if is_whole and not self.init.endswith(CHECKPOINT_SUFFIXES) else f"{self.model}:{self.init}"

    @model_validator(mode="after")
    def _check_last_blocks(self) -> Self:
        for tower in self.last_blocks:
            if f"{tower}_trunk" not in self.freeze:
                raise ValueError(f"last_blocks names blocks of a frozen trunk: write freeze: [{tower}_trunk]")
        return self

    def check_cacheable(self) -> None:
        """Refuse options with which cached trunk features are not those of the training.

        Raises
        ------
        InputError
            A trunk is trained, or sees more than whole images of the training data; or the seeds start from several
            models.
        """
        if not ({"image", "image_trunk"} & {*self.freeze} and {"text", "text_trunk"} & {*self.freeze}):
            raise InputError("cached features need frozen trunks", "train.freeze", "write [image_trunk, text_trunk]")
        if self.last_blocks:
            raise InputError("cached features need frozen trunks", "train.last_blocks", "leave it out")
        if "{seed}" in self.init or self.init == "random":
            raise InputError(
                "cached features need the same pretrained model for all seeds", "train.init", "name one for all seeds"
            )
        refused = {"crop_scale_min": self.crop_scale_min < 1, "bias_probe": self.bias_probe is not None}
        refused |= {name: method.looks_inside_towers() for name, method in self.methods().items()}
        for name, is_on in refused.items():
            if is_on:
                what = "it looks inside the towers, or at other images than those whose features are cached"
                raise InputError(what, f"train.{name}", "leave it out, or train without cached features")

    def files(self) -> dict[str, str]:
        """Files that the options name, by what they hold: their content changes the trained model too."""
        own = {**named_files("model", self.model), **named_files("init", self.init)}
        return own | {name: path for block in self._reading() for name, path in block.files().items()}

    def stage_outputs(self) -> dict[str, str]:
        """Files and folders of other stages that the options name, by what they hold."""
        return {name: path for block in self._reading() for name, path in block.stage_outputs().items()}

    def _reading(self) -> list[ReadingOptions]:
        return [*self.methods().values(), *([self.bias_probe] if self.bias_probe else [])]
