"""CUB-200-2011 as distributed: `images.txt`, `image_class_labels.txt`, `classes.txt`, `train_test_split.txt`, images.

Columns: class ("Black footed Albatross", from `001.Black_footed_Albatross`). Splits: train, test, all.
"""

from evenclip.data.layouts.base import Candidate, Description, ImageIndex, Reject, key_of
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

SPLITS = {"train": "1", "test": "0"}
TABLES = ("images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt")

DESCRIPTION = Description(
    files="`CUB_200_2011.tgz`",
    splits="train, test",
    columns="class",
    signature=r"CUB_200_2011/images\.txt",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The photos of ``split``, in the order of images.txt."""
    if split != "all" and split not in SPLITS:
        raise InputError(f"no split '{split}'", "layout cub200", "train, test or all")
    files = source.files()
    texts = {file.base: file for file in files if file.base in TABLES}
    if missing := set(TABLES) - set(texts):
        raise InputError(f"{min(missing)} is missing", str(source.root), "give the folder or archive CUB_200_2011")
    records: list[Candidate | Reject] = []
    names, class_of, classes, in_train = (_table(source, texts[name], records) for name in TABLES)
    images = ImageIndex(files)
    for number, name in names.items():
        if split != "all" and in_train.get(number, SPLITS[split]) != SPLITS[split]:
            continue
        image = images.find(name)
        label = classes.get(class_of.get(number, ""))
        if isinstance(image, Reject):
            records.append(image)
        elif label is None or number not in in_train:
            records.append(Reject(name, "malformed_row", "its class or split is not in the tables"))
        else:
            words = label.partition(".")[2].replace("_", " ")
            records.append(Candidate(image, key_of(name), [], {"class": words}))
    return records


def _table(source: Source, file: File, records: list[Candidate | Reject]) -> dict[str, str]:
    """Read a table of two columns; lines with only one are added to ``records`` as rejects."""
    rows: dict[str, str] = {}
    for number, line in enumerate(source.read_lines(file), start=1):
        fields = line.split(maxsplit=1)
        if len(fields) == 2:
            rows[fields[0]] = fields[1]
        elif fields:
            records.append(Reject(f"{file.base}:{number}", "malformed_row", "one field, not two"))
    return rows
