"""ARO's Visual Genome tests: `visual_genome_relation.json` and `visual_genome_attribution.json`, and the images.

Items: {image_path, bbox_x, bbox_y, bbox_w, bbox_h, true_caption, false_caption, relation_name or attributes}. As in the
authors' code, the image is cut to the box of what is spoken of. A split is `relation`, `attribution` or ``all``.
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

PREFIX = "visual_genome_"

DESCRIPTION = Description(
    files="`visual_genome_relation.json`, `visual_genome_attribution.json`",
    splits="relation, attribution",
    columns="probe, foil, image, about",
    signature=r"visual_genome_(?P<split>relation|attribution)\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the items of each file."""
    files = [file for file in annotation_files(source, options) if stem(file).startswith(PREFIX)]
    chosen = [file for file in files if split in ("all", stem(file).removeprefix(PREFIX))]
    if not chosen:
        raise InputError(f"no {PREFIX}{split}.json", str(source.root), "relation, attribution or all")
    images = ImageIndex(source.files())
    for file in chosen:
        probe = stem(file).removeprefix(PREFIX)
        for number, (_, item) in enumerate(list(read_items(source, file))):
            read = partial(_pair, probe, str(number), item, images)
            yield or_reject(read, f"{file.name}: item {number}")


def _pair(probe: str, name: str, item: Any, images: ImageIndex) -> Candidate | Reject:
    image, caption, foil = (member(item, key, str) for key in ("image_path", "true_caption", "false_caption"))
    left, top, width, height = (member(item, f"bbox_{side}", int) for side in "xywh")
    about = item.get("relation_name") or " / ".join(item.get("attributes", []))
    box = (left, top, width, height)
    return Choice(probe, name, image, caption, foil, {"about": about}, box).candidate(images)
