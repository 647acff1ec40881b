"""Whether the blocks of a study agree with each other and with the files they name; checked before anything runs."""

import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from evenclip.errors import InputError
from evenclip.model.identity import OPEN_CLIP_CONFIG
from evenclip.options import read_text
from evenclip.study.datasets import AnnotatedDataset, DerivedDataset
from evenclip.study.runs import Run
from evenclip.study.schema import PACKAGED_MODEL, StudyConfig
from evenclip.summarize.claims import narrowed, read_claims

MODEL_KEYS = {"embed_dim", "vision_cfg", "text_cfg"}
"""What a model configuration in open_clip's format has."""


def check_study(config: StudyConfig, runs: Mapping[str, Run], where: str) -> None:
    """Refuse a study whose blocks name data, files, runs or sets that do not exist; `InputError` says which."""
    _check_sets(config, where)
    _check_data(config, where)
    _check_label(config, where)
    _check_files(config, where)
    _check_runs(config, runs, where)
    _check_features(config, runs, where)


def _check_sets(config: StudyConfig, where: str) -> None:
    evaluation, questions = config.evaluate.sets, config.vqa
    for name in questions:
        if name in evaluation:
            raise InputError(f"'{name}' is also the name of an evaluation set", f"{where}, vqa", "give it another name")
    if "links" in {*evaluation, *questions}:
        raise InputError("'links' is the name of link prediction's results", where, "give the set another name")
    trained_on = {*config.evaluate.probe_sets().values()}
    for name, block in evaluation.items():
        if not block.tasks and name not in trained_on:
            what = "nothing is measured on it, and no linear probe trains on it"
            raise InputError(what, f"{where}, evaluate.sets.{name}", "give it tasks, e.g. [{kind: retrieval}]")


def _check_data(config: StudyConfig, where: str) -> None:
    available = [f"{name}/{split}" for name, block in config.data.items() for split in block.splits]
    for key, data in config.data_uses().items():
        if data not in available:
            raise InputError(f"unknown data '{data}'", f"{where}, {key}", f"one of {', '.join(available)}")
    for name, block in config.data.items():
        if isinstance(block, DerivedDataset) and isinstance(config.data[block.of], DerivedDataset):
            what = f"'{block.of}' is itself made from another data set"
            raise InputError(what, f"{where}, data.{name}.of", "name one that is imported or synthesized")
        if isinstance(block, AnnotatedDataset):
            _require_files([block.lexicon], f"{where}, data.{name}.lexicon")


def _check_label(config: StudyConfig, where: str) -> None:
    block, options = config.label.embedding, config.label.options
    if block is None and ("similarity" in options.utility or options.drop_lowest_similarity):
        raise InputError("similarity needs embeddings", f"{where}, label.options", "add label.embedding.model")
    if block is not None and bool(block.attribute_data) != bool(block.attributes):
        what = "attribute_data and attributes belong together"
        raise InputError(what, f"{where}, label.embedding", "give both, or neither")
    if config.scatter > 1 and (options.columns or options.target_columns):
        what = "annotated columns need all pairs, but scattered labelling reads parts"
        raise InputError(what, f"{where}, label.options.columns", "scatter: 1")
    if block is not None and config.scatter > 1:
        what = "embeddings need all pairs, but scattered labelling reads parts"
        raise InputError(what, f"{where}, label.embedding", "scatter: 1")


def _check_files(config: StudyConfig, where: str) -> None:
    inputs = [config.label.lexicon, *config.evaluate.prompt_files(), *config.claims]
    for path in [*inputs, *(config.graph.paths().values() if config.graph else ())]:
        if set("{}") & set(path):
            hint = "rename the file: Snakemake takes braces for wildcards"
            raise InputError(f"braces in the path '{path[:200]}'", where, hint)
    _require_files([config.label.lexicon], f"{where}, label.lexicon")
    _require_files(config.evaluate.prompt_files(), f"{where}, evaluate")
    for name, lexicon in config.evaluate.lexicons().items():
        _require_files([lexicon], f"{where}, evaluate.sets.{name}.lexicon")
    _require_files(config.claims, f"{where}, summarize.claims")
    for path in config.claims:
        narrowed(read_claims(Path(path)), config.summarize.primary)  # now, not when everything is trained


def _check_runs(config: StudyConfig, runs: Mapping[str, Run], where: str) -> None:
    for run in runs.values():
        if run.options.batch_size % config.processes:
            what = f"a batch of {run.options.batch_size} cannot be shared equally by {config.processes} processes"
            raise InputError(what, f"{where}, run {run.name}", f"a batch_size that is a multiple of {config.processes}")
        key = f"{where}, train.model or train.init of run {run.name}"
        _check_model(run.options.model, f"{where}, train.model of run {run.name}")
        for seed in config.seeds:
            _require_files(run.files(seed), key)
        if run.uses_graph(config) and config.graph is None:
            methods = [name for name, method in run.options.methods().items() if "graph" in method.needs]
            hint = f"add a block `graph`, or take out {', '.join(methods)}"
            raise InputError("the study has no knowledge graph to learn from", f"{where}, run {run.name}", hint)
    if config.links and config.graph is None:
        raise InputError("no graph to predict links of", f"{where}, links", "add a block `graph`")
    if config.links and not any(run.learns_links() for run in runs.values()):
        raise InputError("no run can predict links", f"{where}, links", "give one train.knowledge, or take `links` out")


def _check_features(config: StudyConfig, runs: Mapping[str, Run], where: str) -> None:
    if config.features is None:
        return
    for run in runs.values():
        key = f"{where}, run {run.name}"
        try:
            run.options.check_cacheable()
        except InputError as error:
            raise InputError(f"features are cached, but {error}", key, "take out the block `features`") from None
        if run.options.trunks() != config.train.trunks():
            what = f"features are cached of {config.train.trunks()}, not of {run.options.trunks()}"
            raise InputError(what, key, "one model and init for all runs")


def _require_files(paths: Iterable[str], where: str) -> None:
    for path in paths:
        # of another study, or of a rule: Snakemake asks for it
        if not os.path.isfile(path) and not path.startswith(("results/", f"{PACKAGED_MODEL}/")):
            problem = "is a folder, not a file" if os.path.isdir(path) else "no such file"
            raise InputError(f"{problem} '{path[:200]}'", where, "paths are relative to the project's folder")


def _check_model(model: str, where: str) -> None:
    """Refuse what is neither a model configuration nor the name of one that open_clip has; `files` checks folders."""
    hint = "an open_clip name such as ViT-B-32, or the path of a JSON model configuration, e.g. config/models/*.json"
    if model == PACKAGED_MODEL or os.path.isfile(os.path.join(model, OPEN_CLIP_CONFIG)):
        return
    if not model.endswith(".json"):
        package = importlib.util.find_spec("open_clip")  # which is not imported: that takes seconds
        names = {path.stem for path in Path(package.origin).parent.glob("model_configs/*.json")} if package else set()
        if "/" not in model and (not re.fullmatch(r"[\w.+-]+", model) or (names and model not in names)):
            raise InputError(f"no model '{model[:200]}'", where, hint)
        return
    try:
        configuration = json.loads(read_text(model))
    except (ValueError, RecursionError):
        configuration = None
    if not isinstance(configuration, dict) or not set(configuration.get("model_cfg", configuration)) >= MODEL_KEYS:
        raise InputError(f"'{model}' is not a model configuration", where, hint)
