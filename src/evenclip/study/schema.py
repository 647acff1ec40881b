"""What a study file may hold: its blocks, each declared beside the stage that reads it, composed here."""

from typing import Annotated

from pydantic import Field, StringConstraints

from evenclip.balance.options import BalanceOptions
from evenclip.data.options import Dataset
from evenclip.embed.options import EmbedOptions
from evenclip.evaluate.options import EvaluateOptions, Task
from evenclip.graph import Format, GraphOptions
from evenclip.label import LabelOptions
from evenclip.links import LinkOptions
from evenclip.options import Options
from evenclip.summarize.options import SummarizeOptions
from evenclip.track.options import TrackOptions
from evenclip.train.options import TrainOptions
from evenclip.vqa import VqaOptions

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


DataName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*/\w+$")]


class LabelEmbedding(Options):
    """Embeddings of the training pairs, for the image side of the labels and for image-text similarity."""

    model: str
    """Model that embeds: an open_clip name:tag, a run folder, CONFIG.json:CHECKPOINT, or a checkpoint."""
    attribute_data: DataName | None = None
    """`<dataset>/<split>` annotated with the attributes, from which the image side learns; None = no image side."""
    attributes: list[str] = []
    """Columns of it that hold perceived attributes, e.g. gender."""


class LabelBlock(Options):
    """Which captions are labelled, with which words."""

    dataset: Name
    """Data set whose captions are labelled, and trained on."""
    split: str = "train"
    """Its training split."""
    lexicon: str
    """YAML file of attributes, targets and proxies with their words."""
    embedding: LabelEmbedding | None = None
    """What embeddings the labels use; None = captions alone."""
    options: LabelOptions = LabelOptions()
    """How words are matched and captions pooled."""


class GraphBlock(Options):
    """The knowledge graph that the training data is tied to."""

    sources: Annotated[dict[Format, str], Field(min_length=1)]
    """Format -> file or folder, the richest first; `captions` and `pairs` take a folder `data/<dataset>/<split>`."""
    options: GraphOptions = GraphOptions()
    """How the sources are merged, restricted and split."""


class EvaluationSet(Options):
    """One evaluation set and what is measured on it."""

    data: DataName
    """`<dataset>/<split>`."""
    tasks: list[Task]
    """What is measured."""


class EvaluateBlock(Options):
    """Evaluation sets and how intervals are made."""

    sets: dict[Name, EvaluationSet]
    """Evaluation sets by the name that stands in the metrics, e.g. world_people."""
    prompts: str = "config/prompts"
    """Folder of the prompt files `<stem>.yaml` that tasks name."""
    options: EvaluateOptions = EvaluateOptions()
    """Bootstrap resamples, smallest group."""


class QuestionFiles(Options):
    """Questions in VQA v2's format, with their answers and pictures."""

    questions: str
    """The questions' file; where it is made with the data, `data/<dataset>/<split>/...`."""
    annotations: str
    """The answers' file."""
    data: DataName
    """`<dataset>/<split>` with the pictures."""


class VqaBlock(Options):
    """Visual question answering: questions to learn from, and questions to be measured on."""

    train: QuestionFiles
    """Of the training split."""
    test: QuestionFiles
    """Of another."""
    options: VqaOptions = VqaOptions()
    """How the answer head is trained."""


class StudyConfig(Options):
    """A study file."""

    study: Name
    """Name of the study: its results are in results/<study>."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """Random seeds; every run is trained once with each."""
    ablations: str
    """Ablation sheet (TSV): one row = one run; columns run, strategy, and any `train.<option>` that differs."""
    data: dict[Name, Dataset]
    """Data sets by name."""
    scatter: Annotated[int, Field(ge=1)] = 1
    """Parts that labelling and balancing are split into, each a job of its own; for data of more shards than that which
    one machine should not work through alone."""
    label: LabelBlock
    """Labels of the training captions."""
    balance: dict[Name, BalanceOptions]
    """Balancing strategies by name."""
    graph: GraphBlock | None = None
    """Knowledge graph; null = none."""
    train: TrainOptions = TrainOptions()
    """Training, the same for all runs but for the ablation sheet's columns."""
    embed: EmbedOptions = EmbedOptions()
    """Embedding of the evaluation sets."""
    evaluate: EvaluateBlock
    """Evaluation."""
    summarize: SummarizeOptions = SummarizeOptions()
    """Statistics over seeds, and claims."""
    vqa: dict[Name, VqaBlock] = {}
    """Visual question answering by the name that stands in the metrics, another than those of evaluation sets."""
    links: LinkOptions | None = None
    """Link prediction in the graph, by the runs with a multi-modal encoder; null = none."""
    track: TrackOptions = TrackOptions()
    """MLflow."""
