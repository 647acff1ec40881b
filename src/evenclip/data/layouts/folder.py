"""A folder of images, with or without a captions file; labels may stand in the file names.

The captions file is CSV or TSV with a header, or JSON lines; it may have several rows for an image, and its other
columns become columns of the pairs. `name_pattern` must match each image's whole path below the root; its named groups
become columns, and an image whose path does not match is stray. A column `split`, from either, selects rows. Images
whose paths differ in their ending alone (`a.gif`, `a.png`) have it in their keys (`a_gif`, `a_png`).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from os.path import commonpath
from pathlib import PurePosixPath

from evenclip.data.captions_file import ENDINGS, CaptionedImage, Captions, guess_columns, read_captions
from evenclip.data.layouts.base import (
    Candidate,
    Description,
    ImageIndex,
    Recognition,
    Reject,
    check_values,
    key_of,
    with_caption,
    with_value_names,
)
from evenclip.data.options import ImportOptions
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.data.source import IMAGE_ENDINGS, File, Source
from evenclip.errors import InputError

DESCRIPTION = Description(
    files="images; a captions file (CSV, TSV, JSON lines) or names that say labels: UTKFace, IdenProf, Caltech-101",
    splits="by a column `split`",
    columns="of the captions file, of `name_pattern`",
)


SPLIT_NAMES = ("train", "val", "valid", "validation", "dev", "test")


def recognise(source: Source, captions: str | None = None) -> Recognition | None:
    """The captions file, given or found, with its columns; without one, folders that are named after classes."""
    files = source.files()
    images = [file for file in files if file.is_image]
    if not images:
        return None
    candidates = [source.file(captions)] if captions else [f for f in files if f.name.lower().endswith(ENDINGS)]
    guesses = {file: guess for file in candidates if (guess := guess_columns(source, file))}
    if not guesses:
        return None if captions else _class_folders(images)
    file = max(guesses, key=lambda candidate: guesses[candidate][2])
    image_column, caption_column, _ = guesses[file]
    options = {"captions": captions or file.name, "image_column": image_column, "caption_column": caption_column}
    rows = read_captions(source, ImportOptions(**options)).images.values()
    splits = {row.columns.get("split", "") for row in rows if row.columns}
    return Recognition([] if "" in splits else sorted(splits), options)


def _class_folders(images: list[File]) -> Recognition | None:
    """Folders of images, perhaps within folders of splits, as classes; None if there are not two."""
    parts = [PurePosixPath(file.name).parts[:-1] for file in images]
    splits = {path[0] for path in parts if path}
    has_splits = splits <= set(SPLIT_NAMES) and all(len(path) > 1 for path in parts)
    if not all(parts) or len({path[-1] for path in parts}) < 2:
        return None
    pattern = ("(?P<split>[^/]+)/" if has_splits else "") + "(?:.*/)?(?P<class>[^/]+)/[^/]+"
    options = {"name_pattern": pattern, "caption_template": "a photo of a {class}"}
    return Recognition(sorted(splits) if has_splits else [], options)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """All images, in the source's order, with what the captions file and the names say of them."""
    files = source.files()
    images = [file for file in files if file.is_image]
    if not images:
        raise InputError("there are no images", str(source.root), f"images end in {', '.join(IMAGE_ENDINGS)}")
    others = [file for file in files if not file.is_image and file.name != options.captions]
    rejects: list[Candidate | Reject] = [
        Reject(file.name, "other_file", "not the ending of an image file") for file in others
    ]
    top = commonpath([PurePosixPath("/", file.name).parent for file in images])
    paths = [f"/{file.name}".removeprefix(top).lstrip("/") for file in images]
    times = Counter(map(key_of, paths))
    keys = [key_of(path) if times[key_of(path)] == 1 else key_of(path, with_ending=True) for path in paths]
    pairs = [Candidate(file, key, []) for file, key in zip(images, keys, strict=True)]
    records: list[Candidate | Reject] = list(pairs)
    if options.captions is not None:
        captions = read_captions(source, options)
        records, unused = _captioned(pairs, captions)
        rejects += [*captions.malformed, *unused]
    if options.name_pattern is not None:
        pattern = _compiled(options.name_pattern)
        records = [_named(item, pattern) for item in records]
    if options.caption_template is not None:
        records = [with_caption(item, options.caption_template) for item in records]
    columns = {name for item in records if isinstance(item, Candidate) for name in item.columns}
    _check(columns, split, options)
    return rejects + [with_value_names(item, options.values) for item in _of_split(records, split)]


def _compiled(pattern: str) -> re.Pattern:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"not a regular expression ({error})", f"name_pattern: {pattern}", "mend it") from None
    if not compiled.groupindex:
        raise InputError("no named group", f"name_pattern: {pattern}", "write e.g. (?P<label>[a-z]+)/")
    return compiled


def _captioned(images: list[Candidate], captions_file: Captions) -> tuple[list[Candidate | Reject], list[Reject]]:
    """Join rows to images by path, or by as much of its end as either gives; and the rows that fit no one image.

    An image that only a malformed row names is left out: that row counts for both.
    """
    index = ImageIndex(image.file for image in images)
    rows_of: dict[str, list[CaptionedImage]] = {}
    unused = []
    for name, row in captions_file.images.items():
        names = {file.name for file in index.matching(name)}
        if len(names) == 1:
            rows_of.setdefault(names.pop(), []).append(row)
        else:
            detail = f"{len(names)} images are called so" if names else "named in the captions file"
            unused.append(Reject(name, "missing_image", detail))
    joined: list[Candidate | Reject] = []
    for image in images:
        its_rows = rows_of.get(image.file.name, [])
        captions = [caption for row in its_rows for caption in row.captions]
        if captions:
            columns = {name: value for row in reversed(its_rows) for name, value in row.columns.items()}
            joined.append(replace(image, captions=captions, columns=columns))
        elif its_rows or image.file.base not in captions_file.named_there:
            detail = "its rows have none" if its_rows else "no row of the captions file"
            joined.append(Reject(image.file.name, "missing_caption", detail))
    return joined, unused


def _named(item: Candidate | Reject, pattern: re.Pattern) -> Candidate | Reject:
    if isinstance(item, Reject):
        return item
    match = pattern.fullmatch(item.file.name)
    if match is None:
        return Reject(item.file.name, "stray_name", "does not match name_pattern")
    return replace(item, columns=item.columns | {name: value or "" for name, value in match.groupdict().items()})


def _check(columns: set[str], split: str, options: ImportOptions) -> None:
    if taken := columns & set(PAIR_COLUMNS):
        raise InputError(f"a column cannot be called '{min(taken)}'", "name_pattern", "rename the group")
    if split != "all" and "split" not in columns:
        raise InputError(
            f"nothing says which images are of the split '{split}'", "layout folder",
            "import the split 'all', set test_share, or give a column or a named group 'split'",
        )  # fmt: skip
    check_values(columns, options.values)


def _of_split(records: Iterable[Candidate | Reject], split: str) -> list[Candidate | Reject]:
    if split == "all":
        return list(records)
    return [item for item in records if isinstance(item, Reject) or item.columns["split"] == split]
