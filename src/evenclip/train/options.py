"""Options of the training stage."""

from typing import Annotated, Literal, Self

from pydantic import Field

from evenclip.options import Options
from evenclip.train.ahnm_options import AhnmOptions
from evenclip.train.efficientcl_options import EfficientClOptions
from evenclip.train.fcl_options import FclOptions
from evenclip.train.knowledge_options import KnowledgeOptions
from evenclip.train.probe_options import ProbeOptions
from evenclip.train.simclip_options import SimClipOptions
from evenclip.train.stages_options import StagesOptions

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
