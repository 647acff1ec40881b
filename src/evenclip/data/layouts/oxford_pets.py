"""Oxford-IIIT Pet as distributed: `annotations/trainval.txt` and `test.txt`, and `images/Abyssinian_100.jpg` and so on.

The lists have `<image> <class id> <species> <breed id>`; columns: class ("great pyrenees") and species (cat, dog).
Splits: trainval, test, all (the photos in either list).
"""

from evenclip.data.layouts.base import Candidate, Description, ImageIndex, Reject, key_of
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.errors import InputError

SPLITS = ("trainval", "test")
SPECIES = {"1": "cat", "2": "dog"}

DESCRIPTION = Description(
    files="`images.tar.gz`, `annotations.tar.gz`",
    splits="trainval, test",
    columns="class, species",
    signature=r"annotations/trainval\.txt",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The photos of ``split``, in the order of its list."""
    files = source.files()
    lists = {file.base.removesuffix(".txt"): file for file in files if file.base in ("trainval.txt", "test.txt")}
    chosen_lists = SPLITS if split == "all" else (split,)
    if missing := [name for name in chosen_lists if name not in lists]:
        splits = ", ".join([*sorted(lists), "all"])
        raise InputError(f"{missing[0]}.txt is missing", str(source.root), f"available splits: {splits}")
    images = ImageIndex(files)
    records: list[Candidate | Reject] = []
    for name in chosen_lists:
        for number, line in enumerate(source.read_lines(lists[name]), start=1):
            if line.startswith("#") or not line.strip():
                continue
            fields = line.split()
            if len(fields) != 4 or fields[2] not in SPECIES:
                records.append(Reject(f"{name}.txt:{number}", "malformed_row", "not of four fields"))
                continue
            photo = f"{fields[0]}.jpg"
            image = images.find(photo)
            if isinstance(image, Reject):
                records.append(image)
            else:
                breed = fields[0].rpartition("_")[0].replace("_", " ").lower()
                columns = {"class": breed, "species": SPECIES[fields[2]]}
                records.append(Candidate(image, key_of(photo), [], columns))
    return records
