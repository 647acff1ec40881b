"""A study: one YAML file = one reproducible table. Reads the study file and its ablation sheet, checks both.

The blocks are in `evenclip.study.schema`, the sheet's rows in `evenclip.study.runs`; this module turns each into the
command-line arguments that the stage's rule passes on. Stages never import any of the three.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from evenclip.data.options import Dataset, ImportedDataset
from evenclip.data.raw_listing import fingerprint_files
from evenclip.errors import InputError
from evenclip.evaluate.options import train_split
from evenclip.options import Options, expand_variables, read_yaml
from evenclip.study.checks import check_references
from evenclip.study.runs import Run, read_runs
from evenclip.study.schema import QuestionFiles, StudyConfig
from evenclip.train.options import TrainOptions


@dataclass(frozen=True)
class Study:
    """A checked study with its runs; its methods give the arguments of each stage's command.

    Use `load_study` or `Study.from_mapping`.
    """

    config: StudyConfig
    runs: dict[str, Run]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Self:
        """Check a study's values and its ablation sheet; raise `InputError` for the first thing that is wrong."""
        config = StudyConfig.parse(values, where)
        study = cls(config, {run.name: run for run in read_runs(Path(config.ablations), config)})
        check_references(study, where)
        return study

    @property
    def results(self) -> str:
        """The study's results folder."""
        return f"results/{self.config.study}"

    @property
    def training_data(self) -> str:
        """`<dataset>/<split>` that is trained on."""
        return f"{self.config.label.dataset}/{self.config.label.split}"

    def data_command(self, dataset: str, split: str) -> str:
        """`evenclip data` sub-command and arguments that make one split."""
        block = self._dataset(dataset)
        if split not in block.splits:
            raise InputError(
                f"'{dataset}' has no split '{split}'", f"data.{dataset}.splits", f"one of {list(block.splits)}"
            )
        if isinstance(block, ImportedDataset):
            (source,) = self.data_source(dataset)
            return _join("import", "--source", source, "--split", split, *_options(block.options))
        return _join(
            "synthesize", "--split", split, "--n", block.splits[split], "--seed", block.seed, *_options(block.world)
        )

    def data_source(self, dataset: str) -> list[str]:
        """The files an imported data set is read from; nothing for a drawn one."""
        block = self._dataset(dataset)
        return [expand_variables(block.root, f"data.{dataset}.root")] if isinstance(block, ImportedDataset) else []

    def data_listing(self, dataset: str) -> str:
        """Fingerprint of the files that an imported data set is read from (`raw_listing`); '' for a drawn one."""
        return "".join(map(fingerprint_files, self.data_source(dataset)))

    def data_module(self, dataset: str) -> str:
        """The module that makes the data set, for its code fingerprint."""
        imported = isinstance(self._dataset(dataset), ImportedDataset)
        return "evenclip.data.importing" if imported else "evenclip.data.world.synthesize"

    def balance_arguments(self, strategy: str) -> str:
        """Arguments of `evenclip balance` for one strategy."""
        return _join(*_options(self.config.balance[strategy]))

    def utility_bits(self, strategy: str) -> int:
        """How finely one strategy counts utilities; strategies of equal bits share their counts."""
        return self.config.balance[strategy].utility_bits

    def label_arguments(self) -> str:
        """Arguments of `evenclip label`."""
        return _join(*_options(self.config.label.options))

    def image_side_arguments(self, folder: str) -> str:
        """Arguments of `evenclip label` for the embeddings in ``folder``; '' without any."""
        block = self.config.label.embedding
        if block is None:
            return ""
        arguments = ["--embeddings", f"{folder}/pairs.npz"]
        if block.attribute_data:
            arguments += [
                "--attribute-set",
                f"{folder}/annotated.npz",
                "--attribute-data",
                f"data/{block.attribute_data}",
            ]
        return _join(*arguments, *(argument for name in block.attributes for argument in ("--attribute", name)))

    def label_embedding_arguments(self) -> str:
        """Arguments of `evenclip embed` for the embeddings that the labels use."""
        block = self.config.label.embedding
        annotated = ["--set", f"annotated=data/{block.attribute_data}"] if block.attribute_data else []
        sets = ["--set", f"pairs=data/{self.training_data}", *annotated]
        return _join("--model", block.model, *sets, *_options(self.config.embed))

    def label_embedding_inputs(self) -> list[str]:
        """What the embeddings that the labels use are made from: shards, and the model where it is a file."""
        block = self.config.label.embedding
        folders = [self.training_data, *([block.attribute_data] if block.attribute_data else [])]
        return [f"data/{name}/manifest.json" for name in folders] + _existing_weights(block.model)

    def graph_arguments(self) -> str:
        """Arguments of `evenclip graph`; '' without a graph."""
        if self.config.graph is None:
            return ""
        sources = [f"{name}={path}" for name, path in self._graph_sources().items()]
        arguments = [argument for source in sources for argument in ("--source", source)]
        return _join(*arguments, *_options(self.config.graph.options))

    def graph_files(self) -> list[str]:
        """What the graph is read from; what lies in a data folder comes with that folder's manifest."""
        return list(dict.fromkeys(self._input_of(path) for path in self._graph_sources().values()))

    def question_files(self, name: str, part: str) -> QuestionFiles:
        """The ``part`` (`train` or `test`) of the block ``vqa.<name>``, environment variables expanded."""
        block: QuestionFiles = getattr(self.config.vqa[name], part)
        paths = {
            key: expand_variables(getattr(block, key), f"vqa.{name}.{part}") for key in ("questions", "annotations")
        }
        return block.model_copy(update=paths)

    def question_inputs(self, name: str, part: str) -> list[str]:
        """What a table of questions is made from: files, or the manifest of the data that they come with."""
        block = self.question_files(name, part)
        paths = (block.questions, block.annotations)
        return list(dict.fromkeys([f"data/{block.data}/manifest.json", *map(self._input_of, paths)]))

    def question_arguments(self, name: str, part: str) -> str:
        """Arguments of `evenclip data questions`."""
        block = self.question_files(name, part)
        return _join(block.questions, "--annotations", block.annotations, "--data", f"data/{block.data}")

    def vqa_arguments(self, name: str, folder: str) -> str:
        """Arguments of `evenclip vqa` for one set, whose tables of questions are in ``folder``."""
        block = self.config.vqa[name]
        parts = {"train": block.train, "test": block.test}
        sets = [
            text for part, each in parts.items() for text in (f"--{part}", f"{folder}/{part}.parquet=data/{each.data}")
        ]
        return _join(*sets, "--name", name, *_options(block.options))

    def linking_runs(self) -> list[str]:
        """The runs whose multi-modal encoder has learnt links (E2E); none where the study does not ask for them."""
        methods = {run: self.train_options(run).methods().values() for run in self.runs} if self.config.links else {}
        return [run for run, blocks in methods.items() if any(block.learns_links() for block in blocks)]

    def links_arguments(self) -> str:
        """Arguments of `evenclip links`; '' where the study does not ask for it."""
        options = self.config.links
        return _join("--name", self.config.label.dataset, *_options(options)) if options else ""

    def _input_of(self, path: str) -> str:
        """The file itself, or the manifest of the data folder that it is made with."""
        parts = Path(path).parts
        is_ours = parts[0] == "data" and len(parts) > 2 and parts[1] in self.config.data
        return f"data/{parts[1]}/{parts[2]}/manifest.json" if is_ours else path

    def _graph_sources(self) -> dict[str, str]:
        block = self.config.graph
        return {} if block is None else {k: expand_variables(v, f"graph.sources.{k}") for k, v in block.sources.items()}

    def train_arguments(self, run: str) -> str:
        """Arguments of `evenclip train` for one run: the study's block with the row's overrides."""
        return _join(*_options(self.train_options(run)))

    def uses_graph(self, run: str) -> bool:
        """Whether the run learns from the study's knowledge graph."""
        options = self.train_options(run)
        return options.needs("graph") or (self.config.graph is not None and options.uses("graph"))

    def model_files(self, run: str, seed: int | str) -> list[str]:
        """The files that a training's options name, such as the model's configuration, so that an edit retrains."""
        return list(self.train_options(run).of_seed(seed).files().values())

    def stage_outputs(self, run: str) -> list[str]:
        """What other stages write for the run's options: weights of a first stage, manifests of a probe's data."""
        paths = self.train_options(run).stage_outputs().values()
        return [path if path.endswith(".parquet") else f"{path}/manifest.json" for path in paths]

    def train_options(self, run: str) -> TrainOptions:
        """The study's training block with the row's overrides; a column may name one key of a nested block."""
        values = self.config.train.model_dump()
        for column, value in self.runs[run].overrides.items():
            *blocks, key = column.removeprefix("train.").split(".")
            inner = values
            for block in blocks:
                inner[block] = inner.get(block) or {}  # the sheet switches a method on by naming one of its keys
                inner = inner[block]
            inner[key] = value
        weights = {name: f"{self.results}/balance/{name}/weights.parquet" for name in self.config.balance}
        return TrainOptions.parse(values, f"{self.config.ablations}, run {run}").with_weights_of(weights)

    def embed_arguments(self) -> str:
        """Arguments of `evenclip embed`: every evaluation set with its prompt files."""
        sets = [
            f"{name}=data/{block.data}" + (f":{','.join(self.prompt_files(name))}" if self.prompt_files(name) else "")
            for name, block in self.config.evaluate.sets.items()
        ]
        return _join(*(argument for text in sets for argument in ("--set", text)), *_options(self.config.embed))

    def prompt_files(self, *names: str) -> list[str]:
        """Prompt files of the named evaluation sets, or of all."""
        blocks = [self.config.evaluate.sets[name] for name in names or self.config.evaluate.sets]
        stems = sorted({stem for block in blocks for task in block.tasks for stem in task.prompt_stems()})
        return [f"{self.config.evaluate.prompts}/{stem}.yaml" for stem in stems]

    def evaluate_arguments(self, name: str) -> str:
        """Arguments of `evenclip evaluate` for one evaluation set."""
        tasks = self.config.evaluate.sets[name].tasks
        arguments = [argument for task in tasks for argument in ("--task", task.to_argument())]
        return _join("--name", name, *arguments, *_options(self.config.evaluate.options))

    def probe_set(self, name: str) -> str | None:
        """The evaluation set that the linear probes of the set ``name`` train on, if they name a split."""
        block = self.config.evaluate.sets[name]
        if (split := train_split(block.tasks)) is None:
            return None
        data = f"{block.data.partition('/')[0]}/{split}"
        found = [other for other, each in self.config.evaluate.sets.items() if each.data == data]
        if not found:
            hint = f"add a set with data: {data} (tasks: [] will do)"
            raise InputError(f"no evaluation set has the training split {data}", f"evaluate.sets.{name}", hint)
        return found[0]

    def summarize_arguments(self) -> str:
        """Arguments of `evenclip summarize`: runs, seeds and sets (what has left the study is not gathered), claims."""
        config = self.config
        sets = [*config.evaluate.sets, *config.vqa]
        named = {"--run": self.runs, "--seed": config.seeds, "--set": sets, "--claims": self.claims}
        named["--linking"] = self.linking_runs()
        return _join(*(argument for flag, names in named.items() for name in names for argument in (flag, name)))

    @property
    def claims(self) -> list[str]:
        """The file of claims, where there is one."""
        return [self.config.summarize.claims] if self.config.summarize.claims else []

    def gpus(self, device: str) -> int:
        """GPUs that a job on ``device`` takes: 0 on a CPU, or where `auto` finds no NVIDIA device."""
        return 0 if device == "cpu" or (device == "auto" and not Path("/dev/nvidia0").exists()) else 1

    def strategies(self) -> list[str]:
        """Strategies that some run uses, in the order of the sheet."""
        return list(dict.fromkeys(run.strategy for run in self.runs.values()))

    def _dataset(self, name: str) -> Dataset:
        if name not in self.config.data:
            raise InputError(f"unknown data set '{name}'", "data", f"one of {', '.join(self.config.data)}")
        return self.config.data[name]


def load_study(path: str | os.PathLike) -> Study:
    """Read and check a study file."""
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise InputError("a study file is a mapping of blocks", str(path), "see config/config.yaml")
    return Study.from_mapping(values, str(path))


def _existing_weights(model: str) -> list[str]:
    """The file of a model that is one, or a run folder's; none for a name that open_clip downloads."""
    paths = [Path(model), Path(model.rpartition(":")[2]), Path(model) / "model.safetensors"]
    return [str(path) for path in paths if path.is_file()]


def _options(block: Options) -> list[str]:
    return [argument for pair in block.to_arguments() for argument in ("--option", pair)]


def _join(*arguments: Any) -> str:
    # braces would be taken for Snakemake's format fields only in a rule's text; params are inserted as they are
    return shlex.join(str(argument) for argument in arguments)
