"""ImageNet's validation set as distributed: `ILSVRC2012_img_val.tar`, and the development kit for its labels.

The kit, packed or not, has `ILSVRC2012_validation_ground_truth.txt` (a class number for each image) and `meta.mat` (the
numbers' synsets and words). Columns: synset ("n01440764") and class (its first word, "tench").
"""

import io
import re

from evenclip.data.layouts.base import Candidate, Description, Reject, key_of
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")

DESCRIPTION = Description(
    files="`ILSVRC2012_img_val.tar`, `ILSVRC2012_devkit_t12.tar.gz`",
    splits="val",
    columns="synset, class",
    signature=r"ILSVRC2012_(?P<split>val)_00000001\.JPEG",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The validation images by number; ``split`` is val or all."""
    if split not in ("val", "all"):
        raise InputError(f"no split '{split}'", "layout imagenet_val", "val or all")
    files = source.files()
    kit = {file.base: file for file in files if file.base in (TRUTH, META)}
    if missing := {TRUTH, META} - set(kit):
        raise InputError(f"{min(missing)} is missing", str(source.root), "put ILSVRC2012_devkit_t12.tar.gz beside it")
    numbers = source.read_text(kit[TRUTH]).split()
    synsets = _synsets(source, kit[META])
    records: list[Candidate | Reject] = []
    for file in sorted((file for file in files if IMAGE.fullmatch(file.base)), key=lambda file: file.base):
        index = int(IMAGE.fullmatch(file.base)[1]) - 1
        if not 0 <= index < len(numbers) or numbers[index] not in synsets:
            records.append(Reject(file.name, "malformed_row", f"no class in {TRUTH}"))
            continue
        synset, words = synsets[numbers[index]]
        records.append(Candidate(file, key_of(file.base), [], {"synset": synset, "class": words.partition(",")[0]}))
    return records


def _synsets(source: Source, file: File) -> dict[str, tuple[str, str]]:
    """Synset and words by class number."""
    from scipy.io import loadmat  # slow to import, and of use to this layout alone

    try:
        rows = loadmat(io.BytesIO(source.read(file)), squeeze_me=True)["synsets"]
        return {str(int(row["ILSVRC2012_ID"])): (str(row["WNID"]), str(row["words"])) for row in rows}
    except Exception as error:  # SciPy's reader raises nearly anything on broken files
        raise InputError(f"not readable ({type(error).__name__}: {error})", file.name, "fetch the kit again") from None
