"""Whether what a study's blocks say of each other, and of files, holds together; checked before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from evenclip.errors import InputError
from evenclip.summarize.claims import read_claims

if TYPE_CHECKING:
    from evenclip.study.commands import Study


def check_references(study: "Study", where: str) -> None:
    """Refuse a study whose blocks name data, files, runs or sets that are not there; `InputError` says which."""
    used = [("label", study.training_data)]
    if (embedding := study.config.label.embedding) and embedding.attribute_data:
        used.append(("label.embedding.attribute_data", embedding.attribute_data))
    used += [
        (f"graph.sources of {path}", "/".join(Path(path).parts[1:3]))
        for path in study.graph_files()
        if path.startswith("data/") and path.endswith("manifest.json")
    ]
    used += [(f"evaluate.sets.{name}", block.data) for name, block in study.config.evaluate.sets.items()]
    for name, block in study.config.vqa.items():
        if name in study.config.evaluate.sets:
            raise InputError(f"'{name}' names an evaluation set too", f"{where}, vqa", "give it another name")
        used += [(f"vqa.{name}.train.data", block.train.data), (f"vqa.{name}.test.data", block.test.data)]
    for key, data in used:
        dataset, split = data.split("/")
        if dataset not in study.config.data or split not in study.config.data[dataset].splits:
            known = [f"{name}/{part}" for name, block in study.config.data.items() for part in block.splits]
            raise InputError(f"unknown data '{data}'", f"{where}, {key}", f"one of {', '.join(known)}")
    files = [("label.lexicon", study.config.label.lexicon), *(("evaluate", path) for path in study.prompt_files())]
    files += [("summarize.claims", path) for path in study.claims]
    files += [
        (f"train.model or train.init of run {run}", path)
        for run in study.runs
        for seed in study.config.seeds
        for path in study.model_files(run, seed)
    ]
    for key, path in files:
        if not Path(path).is_file() and not path.startswith("results/"):  # of a training: Snakemake asks for it
            raise InputError(f"no such file '{path}'", f"{where}, {key}", "paths are relative to the project's folder")
    for run in study.runs:
        if study.uses_graph(run) and study.config.graph is None:
            methods = study.train_options(run).methods()
            hint = f"add a block `graph`, or take out {', '.join(m for m in methods if 'graph' in methods[m].needs)}"
            raise InputError("the study has no knowledge graph to learn from", f"{where}, run {run}", hint)
    if "links" in {*study.config.evaluate.sets, *study.config.vqa}:
        raise InputError("'links' is where link prediction goes", where, "give the set another name")
    if study.config.links and study.config.graph is None:
        raise InputError("no graph to predict links of", f"{where}, links", "add a block `graph`")
    if study.config.links and not study.linking_runs():
        raise InputError("no run learns links", f"{where}, links", "give one train.knowledge, or take `links` out")
    for name in study.config.evaluate.sets:
        study.probe_set(name)
    for path in study.claims:
        read_claims(Path(path))  # now, not when all is trained
    _check_label(study, where)


def _check_label(study: "Study", where: str) -> None:
    block, options = study.config.label.embedding, study.config.label.options
    if block is None and ("similarity" in options.utility or options.drop_lowest_similarity):
        raise InputError("similarity needs embeddings", f"{where}, label.options", "add label.embedding.model")
    if block is not None and bool(block.attribute_data) != bool(block.attributes):
        what = "attribute_data and attributes belong together"
        raise InputError(what, f"{where}, label.embedding", "give both, or neither")
    if block is not None and study.config.scatter > 1:
        what = "what is made of embeddings compares all pairs"
        raise InputError(what, f"{where}, label.embedding", "scatter: 1")
