"""What a study file may hold: its blocks, and the command-line arguments that each block stands for.

A block that one stage reads alone (training, balancing, ...) is declared beside that stage; here it is composed with
what only a study knows: which data, which files. An argument list is passed to the shell with every element quoted.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from evenclip.balance.options import BalanceOptions
from evenclip.embed.options import EmbedOptions
from evenclip.errors import InputError
from evenclip.evaluate.options import EvaluateOptions, Task, train_split
from evenclip.features import FeatureOptions
from evenclip.graph import Format, GraphOptions
from evenclip.label import LabelOptions
from evenclip.links import LinkOptions
from evenclip.options import FilePath, Options, Seed, expand_variables, repeated
from evenclip.report.options import ReportOptions
from evenclip.study.datasets import DataName, Dataset, DerivedDataset, Name, SplitName, made_with, manifest_of, unique
from evenclip.summarize.options import SummarizeOptions
from evenclip.track.options import TrackOptions
from evenclip.train.options import TrainOptions
from evenclip.vqa import VqaOptions

PACKAGED_MODEL = "models/lite0_minilm"
"""Folder of the model that `evenclip model packaged` writes, which the workflow makes where a study names it."""


class LabelEmbedding(Options):
    """Embeddings of the training pairs, for the image side of the labels and for image-text similarity."""

    model: FilePath
    """Model that embeds: an open_clip name:tag, a run folder, CONFIG.json:CHECKPOINT, or a checkpoint."""
    attribute_data: DataName | None = None
    """`<dataset>/<split>` annotated with the attributes, from which the image side learns; null = no image side."""
    attributes: list[str] = []
    """Columns of it that hold perceived attributes, e.g. gender."""

    def sets(self, training_data: str) -> dict[str, str]:
        """What is embedded, by the name of the file that it goes to: `<dataset>/<split>`."""
        annotated = {"annotated": self.attribute_data} if self.attribute_data else {}
        return {"pairs": training_data, **annotated}

    def inputs(self, training_data: str) -> list[str]:
        """What the embeddings are made from: shards, and the model where it is a file."""
        candidates = [self.model, self.model.rpartition(":")[2], os.path.join(self.model, "model.safetensors")]
        weights = [path for path in candidates if os.path.isfile(path)]
        return [manifest_of(data) for data in self.sets(training_data).values()] + weights

    def embed_arguments(self, training_data: str) -> list[str]:
        """Arguments of `evenclip embed`, without its options."""
        sets = [f"{name}=data/{data}" for name, data in self.sets(training_data).items()]
        return ["--model", self.model, *repeated("--set", sets)]

    def label_arguments(self, folder: str) -> list[str]:
        """Arguments of `evenclip label` for the embeddings in ``folder``."""
        arguments = ["--embeddings", f"{folder}/pairs.npz"]
        if self.attribute_data:
            arguments += ["--attribute-set", f"{folder}/annotated.npz"]
            arguments += ["--attribute-data", f"data/{self.attribute_data}"]
        return arguments + repeated("--attribute", self.attributes)


class LabelBlock(Options):
    """Which captions are labelled, and with which words."""

    dataset: Name
    """Data set whose captions are labelled, and which is trained on."""
    split: SplitName = "train"
    """Its training split."""
    lexicon: FilePath
    """YAML file with the words of each perceived attribute, target and proxy."""
    embedding: LabelEmbedding | None = None
    """Embeddings that the labels use beside the captions; null = captions alone."""
    options: LabelOptions = LabelOptions()
    """How words are matched, and how the captions of a picture are pooled."""


class GraphBlock(Options):
    """The knowledge graph that belongs to the training data."""

    sources: Annotated[dict[Format, FilePath], Field(min_length=1)]
    """Format -> file or folder, the richest first; for `captions` and `pairs` a folder `data/<dataset>/<split>`."""
    options: GraphOptions = GraphOptions()
    """How the sources are merged, restricted and split."""

    def paths(self) -> dict[str, str]:
        """The sources with environment variables expanded."""
        return {name: expand_variables(path, f"graph.sources.{name}") for name, path in self.sources.items()}

    def inputs(self, datasets: Iterable[str]) -> list[str]:
        """The files that the graph is read from; a manifest for what comes with one of the ``datasets``."""
        return list(dict.fromkeys(made_with(path, datasets) for path in self.paths().values()))

    def arguments(self) -> list[str]:
        """Arguments of `evenclip graph`."""
        sources = [f"{name}={path}" for name, path in self.paths().items()]
        return [*repeated("--source", sources), *self.options.to_flags()]


class EvaluationSet(Options):
    """One evaluation set and what is measured on it."""

    data: DataName
    """`<dataset>/<split>`."""
    tasks: Annotated[list[Task], AfterValidator(unique)]
    """What is measured; nothing on a set that only trains the linear probes of another."""
    lexicon: FilePath | None = None
    """Lexicon by which the captions of this set name perceived attributes that the data has no column of; null = none.
    """

    def prompt_stems(self) -> set[str]:
        """Names of the prompt files that the tasks need."""
        return {stem for task in self.tasks for stem in task.prompt_stems()}


class EvaluateBlock(Options):
    """Evaluation sets, and how intervals are computed."""

    sets: Annotated[dict[Name, EvaluationSet], Field(min_length=1)]
    """Evaluation sets by their name in the metrics, e.g. world_people."""
    prompts: FilePath = "config/prompts"
    """Folder of the prompt files `<name>.yaml` that tasks name."""
    parts: Annotated[int, Field(ge=1)] = 1
    """Equal parts that every set is cut into, in its order: the models of seed k are measured on one of them, k modulo
    this. With as many parts as seeds, intervals over seeds cover the choice of pictures too; 1 = all seeds are measured
    on the same pictures."""
    options: EvaluateOptions = EvaluateOptions()
    """Bootstrap resamples and smallest group."""

    def prompt_files(self, *names: str) -> list[str]:
        """Prompt files of the named sets, or of all."""
        stems = {stem for name in names or self.sets for stem in self.sets[name].prompt_stems()}
        return [f"{self.prompts}/{stem}.yaml" for stem in sorted(stems)]

    def embed_arguments(self) -> list[str]:
        """Arguments of `evenclip embed`: every set with its prompt files."""
        files = {name: ",".join(self.prompt_files(name)) for name in self.sets}
        sets = [f"{name}=data/{block.data}{':' * bool(files[name])}{files[name]}" for name, block in self.sets.items()]
        return [*repeated("--set", sets), *(["--parts", str(self.parts)] if self.parts > 1 else [])]

    @property
    def measured(self) -> dict[str, EvaluationSet]:
        """The sets on which something is measured; the others only train linear probes."""
        return {name: block for name, block in self.sets.items() if block.tasks}

    def arguments(self) -> list[str]:
        """Arguments of `evenclip evaluate`, without the embeddings: every set with its tasks and lexicon."""
        words = []
        for name, block in self.measured.items():
            words += ["--dataset", f"{name}=data/{block.data}"]
            words += repeated("--task", [f"{name}={task.to_argument()}" for task in block.tasks])
        lexicons = [f"{name}={path}" for name, path in self.lexicons().items()]
        return [*words, *repeated("--lexicon", lexicons), *self.options.to_flags()]

    def lexicons(self) -> dict[str, str]:
        """The lexicon of each measured set that has one."""
        return {name: block.lexicon for name, block in self.measured.items() if block.lexicon}

    def probe_sets(self) -> dict[str, str]:
        """For each set whose linear probes train on another split: the set with that split."""
        set_of = {block.data: name for name, block in reversed(self.sets.items())}
        training_sets = {}
        for name, block in self.sets.items():
            if split := train_split(block.tasks):
                data = f"{block.data.partition('/')[0]}/{split}"
                if data not in set_of:
                    what = f"no evaluation set has the training split {data}"
                    hint = f"add a set with data: {data} (tasks: [] will do)"
                    raise InputError(what, f"evaluate.sets.{name}", hint)
                training_sets[name] = set_of[data]
        return training_sets


class QuestionFiles(Options):
    """Questions in the format of VQA v2, with their answers and pictures."""

    questions: FilePath
    """File of the questions; where it is made with the data, `data/<dataset>/<split>/...`."""
    annotations: FilePath
    """File of the answers."""
    data: DataName
    """`<dataset>/<split>` with the pictures."""

    def _paths(self) -> list[str]:
        return [expand_variables(path, f"vqa, {path}") for path in (self.questions, self.annotations)]

    def inputs(self, datasets: Iterable[str]) -> list[str]:
        """What the table of questions is made from; a manifest for what comes with one of the ``datasets``."""
        files = [made_with(path, datasets) for path in self._paths()]
        return list(dict.fromkeys([manifest_of(self.data), *files]))

    def arguments(self) -> list[str]:
        """Arguments of `evenclip data questions`."""
        questions, annotations = self._paths()
        return [questions, "--annotations", annotations, "--data", f"data/{self.data}"]


class VqaBlock(Options):
    """Visual question answering: questions to learn from, and questions to measure on."""

    train: QuestionFiles
    """Questions that the answer head is trained on."""
    test: QuestionFiles
    """Questions that it is measured on, about other pictures."""
    options: VqaOptions = VqaOptions()
    """How the answer head is trained."""

    def files(self, part: str) -> QuestionFiles:
        """The questions of one ``part``: `train` or `test`."""
        return {"train": self.train, "test": self.test}[part]

    def arguments(self, name: str, folder: str) -> list[str]:
        """Arguments of `evenclip vqa`, where the tables of questions are in ``folder``."""
        parts = [f"--{part}={folder}/{part}.parquet=data/{self.files(part).data}" for part in ("train", "test")]
        return [*parts, "--name", name, *self.options.to_flags()]


class StudyConfig(Options):
    """A study file."""

    study: Name
    """Name of the study: its results are in results/<study>."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(unique)]
    """Random seeds; every run is trained once with each."""
    seeds_per_job: Literal["one", "all"] = "one"
    """`all`: one job trains, embeds or evaluates a run's models of all seeds, on data that it reads once; for models
    that train in seconds."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that train one model together (`torchrun`), each on a GPU of its own, all on one machine."""
    ablations: FilePath
    """Ablation sheet (TSV): one row = one run; columns run, strategy, and any `train.<option>` that differs."""
    data: Annotated[dict[Name, Dataset], Field(min_length=1)]
    """Data sets by name."""
    scatter: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Number of parts that labelling and balancing are split into, each a job of its own; for data of more shards than
    one machine can work through."""
    label: LabelBlock
    """Labels of the training captions."""
    balance: Annotated[dict[Name, BalanceOptions], Field(min_length=1)]
    """Balancing strategies by name."""
    graph: GraphBlock | None = None
    """Knowledge graph; null = none."""
    train: TrainOptions = TrainOptions()
    """Training: what all runs share; the ablation sheet's columns override it."""
    features: FeatureOptions | None = None
    """Features of the frozen trunks, computed once for each data set: all runs start from one trained model and train
    its projections on them; null = whole models."""
    embed: EmbedOptions = EmbedOptions()
    """Embedding of the evaluation sets."""
    evaluate: EvaluateBlock
    """Evaluation."""
    summarize: SummarizeOptions = SummarizeOptions()
    """Statistics over seeds, and claims."""
    vqa: dict[Name, VqaBlock] = {}
    """Visual question answering, by its name in the metrics; no evaluation set may have that name."""
    links: LinkOptions | None = None
    """Link prediction in the graph, by the runs with a multi-modal encoder; null = none."""
    report: ReportOptions = ReportOptions()
    """The report."""
    track: TrackOptions = TrackOptions()
    """MLflow."""

    @property
    def results(self) -> str:
        """The study's results folder."""
        return f"results/{self.study}"

    @property
    def training_data(self) -> str:
        """`<dataset>/<split>` that is trained on."""
        return f"{self.label.dataset}/{self.label.split}"

    @property
    def claims(self) -> list[str]:
        """The file of claims, if there is one."""
        return [self.summarize.claims] if self.summarize.claims else []

    @property
    def null_seeds(self) -> list[str]:
        """The seeds.csv of a null study, if there is one."""
        return [self.summarize.null_seeds] if self.summarize.null_seeds else []

    @property
    def featured_data(self) -> list[str]:
        """`<dataset>/<split>` of all data whose trunk features are computed: none without `features`."""
        data = [self.training_data, *(block.data for block in self.evaluate.sets.values())]
        return list(dict.fromkeys(data)) if self.features else []

    def feature_arguments(self, data: str) -> list[str]:
        """Arguments of `evenclip features` for ``data``: the model, and the prompts of its evaluation sets."""
        sets = [name for name, block in self.evaluate.sets.items() if block.data == data]
        prompts = self.evaluate.prompt_files(*sets) if sets else []
        return ["--model", self.train.trunks(), *repeated("--prompts", prompts), *self.features.to_flags()]

    def embed_features(self) -> list[str]:
        """`NAME=FOLDER` of the trunk features of every evaluation set; none without `features`."""
        sets = self.evaluate.sets if self.features else {}
        return [f"{name}={self.feature_folder(block.data)}" for name, block in sets.items()]

    def feature_folder(self, data: str) -> str:
        """Folder of the trunk features of ``data``."""
        return f"{self.results}/features/{data}"

    def seeds_arguments(self, seed: str | None) -> list[str]:
        """`--seed` of one job: of its own seed, or of all if it has none."""
        return repeated("--seed", [seed] if seed else self.seeds)

    def data_uses(self) -> Mapping[str, str]:
        """Every use of data in the study: config key -> `<dataset>/<split>`."""
        uses = {"label": self.training_data}
        if self.label.embedding and self.label.embedding.attribute_data:
            uses["label.embedding.attribute_data"] = self.label.embedding.attribute_data
        for name, path in (self.graph.paths() if self.graph else {}).items():
            if made_with(path, self.data) != path:
                uses[f"graph.sources.{name} ({path})"] = "/".join(Path(path).parts[1:3])
        for name, block in self.data.items():
            if isinstance(block, DerivedDataset):
                uses |= {f"data.{name} ({split})": f"{block.of}/{split}" for split in block.splits}
        uses |= {f"evaluate.sets.{name}": block.data for name, block in self.evaluate.sets.items()}
        for name, block in self.vqa.items():
            uses |= {f"vqa.{name}.{part}.data": block.files(part).data for part in ("train", "test")}
        return uses
