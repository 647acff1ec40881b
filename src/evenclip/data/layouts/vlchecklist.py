"""VL-CheckList as distributed: `data/Relation/vg/spatial.json` etc., lists of [image, {POS: [caption], NEG: [foil]}].

The probe is the file's path below `data`, as relation_vg_spatial. The images are Visual Genome's and others'.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from evenclip.data.layouts.base import Candidate, Choice, Description, ImageIndex, Reject, annotation_files, read_items
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source

DESCRIPTION = Description(
    files="`data/Relation/vg/spatial.json`, ...",
    splits="Relation, Attribute, Object",
    columns="probe, foil, image",
    signature=r"Relation/vg/spatial\.json",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the items of each file; ``split`` is a folder on their path (Relation, Attribute, Object) or ``all``."""
    images = ImageIndex(source.files())
    for file in annotation_files(source, options):
        parts = PurePosixPath(file.name).with_suffix("").parts
        if split not in ("all", *parts[:-1]):
            continue
        probe = "_".join(parts[parts.index("data") + 1 if "data" in parts else 0 :]).lower()
        for number, (_, item) in enumerate(list(read_items(source, file))):
            match item:
                case [str(image), {"POS": [str(caption), *_], "NEG": [str(foil), *_]}]:
                    yield Choice(probe, str(number), image, caption, foil).candidate(images)
                case _:
                    yield Reject(f"{file.name}: item {number}", "malformed_row", "not [image, {POS: [..], NEG: [..]}]")
