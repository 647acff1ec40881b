"""COCO Captions as distributed: `annotations/captions_<split>.json` beside folders, tars or zips of images.

The JSON has `images` ({id, file_name, ...}) and `annotations` ({id, image_id, caption}); it is read as a stream. Image
ids become a column. The split `all` takes the only captions file, or the one that the option `captions` names.
"""

from evenclip.data.layouts.base import (
    Candidate,
    Description,
    ImageIndex,
    MalformedItem,
    Reject,
    annotation_files,
    key_of,
    member,
    one_line,
    read_items,
    stem,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

PREFIX = "captions_"

DESCRIPTION = Description(
    files="`captions_<split>.json`",
    splits="val2017, train2014, ...",
    columns="image_id",
    signature=r"captions_(?P<split>\w+)\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The images of ``split`` in the file's order, captions by annotation id."""
    file = _captions_file(source, split, options)
    names, captions, records = _read(source, file)
    images = ImageIndex(source.files())
    for image_id, name in names.items():
        image = images.find(name)
        texts = [text for _, text in sorted(captions.pop(image_id, []))]
        if isinstance(image, Reject):
            records.append(image)
        elif not texts:
            records.append(Reject(name, "missing_caption"))
        else:
            records.append(Candidate(image, key_of(image.base), texts, {"image_id": str(image_id)}))
    for image_id in captions:
        records.append(
            Reject(f"{file.base}: image {image_id}", "malformed_row", "captions of an image that is not listed")
        )
    return records


def _captions_file(source: Source, split: str, options: ImportOptions) -> File:
    files = [file for file in annotation_files(source, options) if stem(file).startswith(PREFIX)]
    chosen = [file for file in files if split == "all" or stem(file) == f"{PREFIX}{split}"]
    if len(chosen) != 1:
        splits = ", ".join(stem(file).removeprefix(PREFIX) for file in files) or "none"
        raise InputError(f"{len(chosen)} files {PREFIX}{split}.json", str(source.root), f"available splits: {splits}")
    return chosen[0]


def _read(source: Source, file: File) -> tuple[dict[int, str], dict[int, list[tuple[int, str]]], list]:
    """File names and numbered captions by image id, and the rows that cannot be read."""
    names: dict[int, str] = {}
    captions: dict[int, list[tuple[int, str]]] = {}
    rejects: list[Candidate | Reject] = []
    for number, (part, item) in enumerate(read_items(source, file)):
        try:
            if part == "images":
                names[member(item, "id", int)] = member(item, "file_name", str)
            elif part == "annotations":
                image_id, caption_id = member(item, "image_id", int), member(item, "id", int)
                if caption := one_line(member(item, "caption", str)):
                    captions.setdefault(image_id, []).append((caption_id, caption))
        except MalformedItem as error:
            rejects.append(Reject(f"{file.base}: {part}, item {number}", "malformed_row", str(error)))
    if not names:
        raise InputError("no `images`", file.name, "give a captions_<split>.json of COCO")
    return names, captions, rejects
