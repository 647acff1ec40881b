"""Karpathy's splits of COCO, Flickr30k and Flickr8k: `dataset_coco.json` and so on, beside the images.

`images` holds {filename, filepath, split, sentences: [{raw, ...}], cocoid}; `filepath` is there for COCO only. Splits
are train, restval, val and test; "train+restval" is what most papers train on.
"""

from functools import partial
from typing import Any

from evenclip.data.layouts.base import (
    Candidate,
    Description,
    ImageIndex,
    Reject,
    annotation_files,
    key_of,
    member,
    one_line,
    or_reject,
    read_items,
    stem,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.errors import InputError

DESCRIPTION = Description(
    files="`dataset_coco.json`, `dataset_flickr30k.json`",
    splits="train, restval, val, test, `train+restval`",
    columns="split, image_id",
    signature=r"dataset_\w+\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The images of ``split`` (several joined by "+", or ``all``), in the file's order."""
    files = [file for file in annotation_files(source, options) if stem(file).startswith("dataset")]
    if len(files) != 1:
        raise InputError(f"{len(files)} files dataset_*.json", str(source.root), "name one with the option captions")
    wanted, splits = set(split.split("+")), set()
    images = ImageIndex(source.files())
    records: list[Candidate | Reject] = []
    for number, item in enumerate(item for part, item in read_items(source, files[0]) if part == "images"):
        where = f"{files[0].name}: image {number}"
        its_split = or_reject(partial(member, item, "split", str), where)
        if isinstance(its_split, Reject):
            records.append(its_split)
            continue
        splits.add(its_split)
        if split == "all" or its_split in wanted:
            records.append(or_reject(partial(_pair, item, images), where))
    if split != "all" and (missing := wanted - splits):
        raise InputError(f"no split '{min(missing)}'", files[0].name, f"available splits: {', '.join(sorted(splits))}")
    return records


def _pair(item: dict[str, Any], images: ImageIndex) -> Candidate | Reject:
    name = member(item, "filename", str)
    image = images.find(f"{item['filepath']}/{name}" if item.get("filepath") else name)
    sentences = member(item, "sentences", list)
    captions = [text for sentence in sentences if (text := one_line(member(sentence, "raw", str)))]
    if isinstance(image, Reject):
        return image
    if not captions:
        return Reject(name, "missing_caption")
    columns = {"split": item["split"]} | ({"image_id": str(item["cocoid"])} if "cocoid" in item else {})
    return Candidate(image, key_of(image.base), captions, columns)
