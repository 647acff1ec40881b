"""A new study from a person's own files: study file, ablation sheet, lexicon, prompts and a short README.

Reads a sample of the pairs (`evenclip.study.survey`); writes a folder that `evenclip config check` accepts and that
Snakemake runs without an edit. Command: `evenclip init`.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evenclip.errors import InputError
from evenclip.label.lexicon import Lexicon, read_lexicon
from evenclip.provenance import atomic_folder
from evenclip.study.choices import Choice, choose, likely_misspellings
from evenclip.study.study import load_study
from evenclip.study.survey import Survey, survey

LEXICON, MODEL = Path("config/lexicons/people.yaml"), Path("config/models/photos_tiny.json")
IMAGE_PX = 48  # of MODEL
SAMPLES_SEEN, LARGEST_BATCH, SMALLEST_BATCH = 4000, 64, 8
SMALL = 2000
"""Fewer pairs than this let a model learn next to nothing."""


def init_study(
    source: Path, captions: Path | None, attributes: Sequence[str], labels: Sequence[str], out: Path | None
) -> list[str]:
    """Write the files of a study of ``source`` into a new folder.

    Parameters
    ----------
    source : Path
        Folder, tar, zip or Parquet file with images and captions.
    captions : Path, optional
        Captions file, anywhere.
    attributes, labels : sequence of str
        What to balance; see `evenclip.study.choices.choose`.
    out : Path, optional
        Folder to write; default studies/<name of the source>.

    Returns
    -------
    list of str
        What was seen and written, as lines for the user.

    Raises
    ------
    InputError
        The folder has files already, the source is not understood, or this is no checkout of evenclip.
    """
    if not LEXICON.is_file() or not MODEL.is_file():
        raise InputError("no checkout of evenclip is here", str(Path.cwd()), "run it in the folder of the Snakefile")
    name = _study_name((out or source).resolve())
    out = out or Path("studies") / name
    _refuse_to_overwrite(out, name)
    if braces := [path for path in (source, captions, out) if path and set("{}") & set(str(path))]:
        raise InputError("braces in a path, which Snakemake takes for wildcards", str(braces[0]), "rename it")
    seen = survey(source, None if captions is None else _captions_path(source, captions))
    choice = choose(seen, read_lexicon(LEXICON), attributes, labels)
    texts = _files(name, source, out, seen, choice)
    with atomic_folder(out) as folder:
        for path, text in texts.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    load_study(out / "study.yaml")
    return [*_what_was_seen(source, seen, choice), *_what_is_next(name, out, texts)]


def _study_name(path: Path) -> str:
    """A name for paths and metrics: lower-case letters, digits and _."""
    stem = path.name.partition(".")[0]
    ascii_name = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", ascii_name).strip("_")
    return name if name[:1].isalpha() else f"study_{name}".rstrip("_")


def _refuse_to_overwrite(out: Path, name: str) -> None:
    for path in (out, Path("results") / name, Path("data") / name):
        if path.exists():
            raise InputError("it is there already, and init overwrites nothing", str(path), "give another --output")


def _captions_path(source: Path, captions: Path) -> str:
    """The path below the source, or absolute."""
    if not captions.is_file():
        below = source / captions
        if not below.is_file():
            raise InputError("no such file", str(captions), "give the path of the captions file")
        return captions.as_posix()
    absolute, root = captions.resolve(), source.resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)


def _files(name: str, source: Path, out: Path, seen: Survey, choice: Choice) -> dict[str, str]:
    """The content of each file."""
    prompts = {f"prompts/{attribute}.yaml": _prompts(groups) for attribute, groups in choice.groups.items()}
    if len(choice.labels) > 1:
        prompts["prompts/labels.yaml"] = _prompts(choice.labels)
    return {
        "study.yaml": _study(name, source, out, seen, choice),
        "runs.tsv": "run\tstrategy\nbaseline\tnone\nrandom_subsample\trandom_subsample\nm4\tm4\n",
        "lexicon.yaml": _lexicon(choice.lexicon),
        **prompts,
        "README.md": _readme(name, source, out),
    }


def _study(name: str, source: Path, out: Path, seen: Survey, choice: Choice) -> str:
    folder = out.as_posix()
    options = seen.options.model_dump(mode="json", exclude_defaults=True)
    n_bad = sum(len(names) for reason, names in seen.rejects.items() if reason != "other_file")
    share = n_bad / max(1, n_bad + seen.n)
    if share > seen.options.max_quarantined_share:
        options["max_quarantined_share"] = min(1.0, round(1.5 * share + 0.05, 2))
    options["max_px"] = IMAGE_PX
    n_train = seen.n * (1 - (seen.options.test_share or 0))
    batch = LARGEST_BATCH
    while batch > SMALLEST_BATCH and 8 * batch > n_train:
        batch //= 2
    label_options = {"columns": choice.group_columns, "target_columns": choice.label_columns}
    label_options = {key: value for key, value in label_options.items() if value}
    label = {"dataset": name, "split": seen.train, "lexicon": f"{folder}/lexicon.yaml"}
    label |= {"options": label_options} if label_options else {}
    tasks: list[dict[str, Any]] = [{"kind": "retrieval"}]
    for attribute in choice.groups:
        suffix = f"by_{attribute}" if len(choice.groups) > 1 else ""
        of_attribute = {"column": attribute} | ({"suffix": re.sub(r"\W", "_", suffix)} if suffix else {})
        tasks.append({"kind": "recognition", **of_attribute, "prompts": attribute})
        if len(choice.labels) > 1:
            tasks.append({"kind": "association", **of_attribute, "prompts": "labels"})
    test_set = {"data": f"{name}/{seen.test}", "tasks": tasks}
    if set(choice.groups) - set(choice.group_columns):
        test_set["lexicon"] = f"{folder}/lexicon.yaml"
    where = source.as_posix() if not source.is_absolute() else str(source)
    data = {"source": "import", "root": where, "splits": [seen.train, seen.test], "options": options}
    return f"""# A study of {_one_line(where)}, as `evenclip init` wrote it.
#   snakemake --cores all --configfile {folder}/study.yaml      ->  results/{name}/report.html
# Every key is described in config/README.md. This first version takes minutes on two CPU cores: a tiny model, images of
# 48 pixels, few samples and two seeds. It shows that everything runs, and what balancing does to the data. Results
# about models need more of everything: see `train` below, and `seeds: [0, 1, 2, 3, 4]`.
study: {name}
seeds: [0, 1]
seeds_per_job: all
ablations: {folder}/runs.tsv

data:
  {name}:
{_block(data, 4)}

# Who and what a picture shows: {"columns of the data, and " if choice.group_columns else ""}words of the captions.
label:
{_block(label, 2)}

# allow_infeasible: where the groups cannot be balanced exactly, the least imbalance is taken, and the report says so.
balance:
  none: {{strategy: none}}
  random_subsample: {{strategy: random_subsample, allow_infeasible: true}}
  m4: {{strategy: m4, allow_infeasible: true}}

train:
  model: {MODEL.as_posix()}  # photos_small.json learns more, ViT-B-32 needs a GPU; raise max_px with them
  samples_seen: {SAMPLES_SEEN}
  batch_size: {batch}

evaluate:
  prompts: {folder}/prompts
  sets:
    {name}_test:
{_block(test_set, 6)}
"""


def _block(values: Mapping[str, Any], indent: int) -> str:
    """A mapping as indented YAML: mappings and lists of mappings over several lines, all else on one."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{' ' * indent}{key}:", _block(value, indent + 2)]
        elif isinstance(value, list) and isinstance(value[0], Mapping):
            lines += [f"{' ' * indent}{key}:", *(f"{' ' * (indent + 2)}- {_flow(item)}" for item in value)]
        else:
            lines.append(f"{' ' * indent}{key}: {_flow(value)}")
    return "\n".join(lines)


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=True, width=2**16)
    return text.removesuffix("\n").removesuffix("\n...")


def _prompts(classes: Mapping[str, int]) -> str:
    head = "# The texts that stand for each class when a model is measured; write better ones.\n"
    texts = {name: [name.replace("_", " ").lower()] for name in classes}
    return head + _block({"templates": ["a photo of a {}.", "a picture of a {}."], "classes": texts}, 0) + "\n"


def _lexicon(lexicon: Lexicon) -> str:
    values = lexicon.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    head = f"""\
# Words by which captions name groups and labels; plurals are added. docs/data.md describes the keys. The words are
# from {LEXICON.as_posix()}, and words of the captions that differ between groups. Change them freely.
"""
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _readme(name: str, source: Path, out: Path) -> str:
    return f"""# {name}

Made by `evenclip init` from {source}. Run it in the checkout: `snakemake --cores all --configfile {out}/study.yaml`.
Then open results/{name}/report.html. After an edit, `evenclip config check {out}/study.yaml`.
study.yaml: data, model, measurements; runs.tsv: one row is one run; lexicon.yaml, prompts/: words and texts.
"""


def _what_was_seen(source: Path, seen: Survey, choice: Choice) -> list[str]:
    options = seen.options
    n_captions = sum(map(len, seen.captions))
    n_words = sum(len(caption.split()) for captions in seen.captions for caption in captions)
    read = {
        "captions": options.captions,
        "image_column": options.image_column if options.captions or options.layout == "parquet" else None,
        "caption_column": options.caption_column if options.captions or options.layout == "parquet" else None,
        "caption_template": options.caption_template,
    }
    lines = [f"{source}: layout {options.layout}" + "".join(f", {k} {v}" for k, v in read.items() if v)]
    some = "" if seen.complete else "the first "
    per_pair, words = n_captions / seen.n, n_words / max(1, n_captions)
    lines.append(f"pairs: {some}{seen.n}, with {per_pair:.1f} captions of {words:.1f} words")
    if bad := {reason: names for reason, names in sorted(seen.rejects.items()) if reason != "other_file"}:
        parts = [f"{reason} {len(names)} (such as {names[0]})" for reason, names in bad.items()]
        lines.append("left out: " + ", ".join(parts))
    if seen.columns:
        lines.append(f"columns: {', '.join(seen.columns)}")
    for attribute, groups in choice.groups.items():
        origin = f"column {attribute}" if attribute in choice.group_columns else "captions"
        lines.append(f"perceived groups ({origin}): " + ", ".join(f"{attribute}.{g} {n}" for g, n in groups.items()))
        for rare, frequent in likely_misspellings(groups).items():
            lines.append(f"note: is {attribute}.{rare} ({groups[rare]} pairs) a misspelt {attribute}.{frequent}?")
    lines.append("labels: " + (", ".join(f"{label} {n}" for label, n in choice.labels.items()) or "none"))
    if seen.options.test_share:
        lines.append(f"splits: none; {seen.options.test_share:.0%} of the images are held out to measure on")
    if seen.complete and seen.n < SMALL:
        lines.append(f"note: {seen.n} pairs are few; a model learns next to nothing of them, so expect wide intervals")
    return lines


def _what_is_next(name: str, out: Path, texts: Mapping[str, str]) -> list[str]:
    return [
        f"wrote {out}/: {', '.join(texts)}",
        f"next: snakemake --cores all --configfile {out}/study.yaml    (minutes; then open results/{name}/report.html)",
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())
