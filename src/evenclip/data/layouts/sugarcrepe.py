"""SugarCrepe as distributed: `<probe>.json` with {id: {filename, caption, negative_caption}}, and images of COCO.

Probes: add_att, add_obj, replace_att, replace_obj, replace_rel, swap_att, swap_obj. A split is one, ``all`` = every.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from evenclip.data.layouts.base import (
    Candidate,
    Choice,
    Description,
    ImageIndex,
    Reject,
    annotation_files,
    member,
    or_reject,
    read_items,
    stem,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.errors import InputError

DESCRIPTION = Description(
    files="`swap_att.json`, ...",
    splits="the probes",
    columns="probe, foil, image",
    signature=r"swap_att\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the items of each file."""
    images = ImageIndex(source.files())
    files = annotation_files(source, options)
    chosen = [file for file in files if split in ("all", stem(file))]
    if not chosen:
        raise InputError(f"no {split}.json", str(source.root), f"all, {', '.join(stem(file) for file in files)}")
    for file in chosen:
        for name, item in list(read_items(source, file)):
            yield or_reject(partial(_pair, stem(file), name, item, images), f"{file.name}: item {name}")


def _pair(probe: str, name: str, item: Any, images: ImageIndex) -> Candidate | Reject:
    image, caption, foil = (member(item, key, str) for key in ("filename", "caption", "negative_caption"))
    return Choice(probe, name, image, caption, foil).candidate(images)
