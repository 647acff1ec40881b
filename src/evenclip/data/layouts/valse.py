"""VALSE as distributed: `<instrument>.json` with {id: {image_file, caption, foil, mturk: {caption: votes}, ...}}.

The images are those of COCO, Visual7W, VisDial and SWiG. The split `valid` takes the items whose caption, and not the
foil, at least 2 of 3 annotators chose, as the paper's figures do; ``all`` takes every item.
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

MIN_VOTES = 2

DESCRIPTION = Description(
    files="`plurals.json`, ...",
    splits="valid (2 of 3 annotators agreed), all",
    columns="probe, foil, image, votes",
    signature=r"plurals\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the items of each file; the probe is the file's name."""
    if split not in ("valid", "all"):
        raise InputError(f"no split '{split}'", "layout valse", "valid or all")
    images = ImageIndex(source.files())
    for file in annotation_files(source, options):
        for name, item in list(read_items(source, file)):
            pair = or_reject(partial(_pair, stem(file), name, item, images), f"{file.name}: item {name}")
            if split == "all" or isinstance(pair, Reject) or int(pair.columns["votes"]) >= MIN_VOTES:
                yield pair


def _pair(probe: str, name: str, item: Any, images: ImageIndex) -> Candidate | Reject:
    image, caption, foil = (member(item, key, str) for key in ("image_file", "caption", "foil"))
    votes = member(member(item, "mturk", dict), "caption", int)
    return Choice(probe, name, image, caption, foil, {"votes": str(votes)}).candidate(images)
