"""WebDataset tars as img2dataset and CLIP_benchmark write them, and open_clip reads them.

The members of a pair share their path up to the base name's first dot, the key: `000000012.jpg`, `000000012.txt`,
`000000012.json`. Captions come from the JSON's `captions` (a list), else from `.txt`, else from its `caption`.
The JSON's other plain values become columns.

Two files beside the tars are CLIP_benchmark's: `dataset_type.txt` with the word `retrieval` says that each line of a
`.txt` is a caption; `classnames.txt` has the names of the numbers in `.cls`, which become the column `class`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evenclip.data.layouts.base import (
    Candidate,
    Description,
    Recognition,
    Reject,
    check_values,
    one_line,
    short_key,
    with_caption,
    with_value_names,
)
from evenclip.data.options import ImportOptions
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.data.source import IMAGE_ENDINGS, File, Source, UnreadableFile, walk_files
from evenclip.errors import InputError

# what img2dataset notes about its own download, and cannot be a truth about the pair
BOOKKEEPING = frozenset((*PAIR_COLUMNS, "status", "error_message", "exif", "__key__"))
TEXTS = ("txt", "json")
CLASS = "cls"
MAX_TEXT_BYTES = 2**20

DESCRIPTION = Description(
    files="tars of img2dataset, of CLIP_benchmark, and our own",
    splits="folders of tars",
    columns="of the JSON; class",
)


def recognise(source: Source, captions: str | None = None) -> Recognition | None:
    """Splits of a source with tars whose images have a text, JSON or class beside them; one tar is looked into."""
    if captions:
        return None
    groups = source.groups()
    next(groups)
    members = {file.name.lower() for file in next(groups, []) if file.path.suffix == ".tar"}
    stems = {name.rpartition(".")[0] for name in members if name.endswith(IMAGE_ENDINGS)}
    endings = {ending for ending in (*TEXTS, CLASS) for stem in stems if f"{stem}.{ending}" in members}
    if not endings:
        return None
    tars = (path.relative_to(source.root) for path in walk_files(source.root) if path.suffix == ".tar")
    folders = dict.fromkeys(tar.parent.name for tar in tars)
    options = {"caption_template": "a photo of a {class}"} if endings == {CLASS} else {}
    return Recognition([] if "" in folders else list(folders), options)


@dataclass(frozen=True)
class _Notes:
    """What the files beside the tars say of all pairs."""

    class_names: list[str]
    caption_per_line: bool


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the pairs of every tar, one tar in memory at a time; ``split`` names a folder of tars, ``all`` = each."""
    any_tar, columns = False, set()
    groups = source.groups()
    notes = _read_notes(source, next(groups))
    for group in groups:
        archive = group[0].path if group and group[0].member is not None else None
        if archive is None or (split != "all" and split not in archive.relative_to(source.root).parts[:-1]):
            continue
        any_tar = True
        samples: dict[str, dict[str, File]] = {}
        for file in group:
            folder, slash, base = file.name.rpartition("/")
            stem, _, ending = base.partition(".")
            members = samples.setdefault(folder + slash + stem, {})
            if ending.lower() in members:
                yield Reject(file.name, "duplicate_key", f"twice in {archive.name}")
            members.setdefault(ending.lower(), file)
        for key, members in samples.items():
            pair = _pair(source, key, members, notes)
            if isinstance(pair, Candidate):
                columns |= pair.columns.keys()
                pair = _completed(pair, options)
            if isinstance(pair, Candidate) and not pair.captions and CLASS not in members:
                pair = Reject(pair.file.name, "missing_caption")
            yield pair
    if not any_tar:
        folder = "" if split == "all" else f" in a folder '{split}'"
        raise InputError(f"no tar{folder}", str(source.root), "give a tar, or a folder of tars")
    check_values(columns, options.values)


def _read_notes(source: Source, loose: list[File]) -> _Notes:
    """The notes of CLIP_benchmark beside the tars, where they are."""
    files = {file.name: file for file in loose}
    lines = {
        name: [stripped for line in source.read_lines(files[name]) if (stripped := line.strip())]
        for name in ("classnames.txt", "dataset_type.txt")
        if name in files
    }
    return _Notes(lines.get("classnames.txt", []), lines.get("dataset_type.txt") == ["retrieval"])


def _pair(source: Source, key: str, members: dict[str, File], notes: _Notes) -> Candidate | Reject:
    image = next((members[ending[1:]] for ending in IMAGE_ENDINGS if ending[1:] in members), None)
    if image is None:
        return Reject(key, "missing_image", f"there is only {', '.join(sorted(members))}")
    large = [members[ending].name for ending in TEXTS if ending in members and members[ending].size > MAX_TEXT_BYTES]
    if large:
        return Reject(image.name, "malformed_row", f"{large[0]} has more than {MAX_TEXT_BYTES} bytes")
    try:
        record = json.loads(source.read(members["json"])) if "json" in members else {}
        text = source.read(members["txt"]).decode() if "txt" in members else ""
    except (ValueError, RecursionError, UnreadableFile) as error:
        return Reject(image.name, "malformed_row", f"text or JSON cannot be read ({error})"[:200])
    if not isinstance(record, dict):
        return Reject(image.name, "malformed_row", "the JSON is not an object")
    texts = text.splitlines() if notes.caption_per_line else text
    captions = _captions(record.get("captions")) or _captions(texts) or _captions(record.get("caption"))
    columns = {
        one_line(name): one_line(str(value))
        for name, value in record.items()
        if name not in BOOKKEEPING and isinstance(value, str | int | float)
    }
    if CLASS in members:
        columns["class"] = _class_name(source, members[CLASS], notes.class_names)
    return Candidate(image, short_key(key), captions, columns)


def _class_name(source: Source, file: File, names: list[str]) -> str:
    """The name of a class that is given by its number; `InputError` if there is no such name."""
    number = source.read(file).decode("ascii", "replace").strip()
    if number.isdecimal() and int(number) < len(names):
        return names[int(number)]
    hint = "write the names of the classes, one a line, in the order of their numbers from 0, into classnames.txt"
    raise InputError(f"class '{number[:20]}' has no name", f"{file.path}: {file.name}", f"{hint} beside the tars")


def _completed(pair: Candidate, options: ImportOptions) -> Candidate | Reject:
    """The pair with the options' names of values and, if it has no caption, with that of the template."""
    values = {column: names for column, names in options.values.items() if column in pair.columns}
    named = with_value_names(pair, values)
    if options.caption_template and isinstance(named, Candidate):
        named = with_caption(named, options.caption_template)
    return named


def _captions(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [line for text in values if isinstance(text, str) and (line := one_line(text))]
