"""Visual Genome as distributed: `region_descriptions.json` beside the folders or zips of images `<image_id>.jpg`.

The JSON has, for each image, `id` and `regions` ({region_id, image_id, phrase, x, y, width, height}); it is read as a
stream. A pair is an image with the different phrases of its regions as captions, in the file's order. There are no
official splits: the split is `all`. Objects and relationships are for `evenclip graph`.
"""

from functools import partial
from typing import Any

from evenclip.data.layouts.base import (
    Candidate,
    Description,
    ImageIndex,
    Reject,
    key_of,
    member,
    one_line,
    or_reject,
    read_items,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.errors import InputError

NAME = "region_descriptions.json"  # also inside region_descriptions.json.zip

DESCRIPTION = Description(
    files="`region_descriptions.json`, images; all phrases of an image are its captions",
    splits="all",
    columns="image_id",
    signature=r"region_descriptions\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The images that have regions, in the file's order."""
    if split != "all":
        raise InputError(f"no split '{split}'", str(source.root), "Visual Genome has no official splits: --split all")
    files = [file for file in source.files() if file.base == NAME]
    if len(files) != 1:
        raise InputError(f"{len(files)} files {NAME}", str(source.root), "give the folder with one, and the images")
    images = ImageIndex(source.files())
    items = (item for _, item in read_items(source, files[0]))
    return [
        or_reject(partial(_pair, item, images), f"{files[0].base}: item {number}") for number, item in enumerate(items)
    ]


def _pair(item: dict[str, Any], images: ImageIndex) -> Candidate | Reject:
    image_id = member(item, "id", int)
    image = images.find(f"{image_id}.jpg")
    phrases = [one_line(member(region, "phrase", str)) for region in member(item, "regions", list)]
    captions = list(dict.fromkeys(phrase for phrase in phrases if phrase))
    if isinstance(image, Reject):
        return image
    if not captions:
        return Reject(f"{image_id}.jpg", "missing_caption")
    return Candidate(image, key_of(image.base), captions, {"image_id": str(image_id)})
