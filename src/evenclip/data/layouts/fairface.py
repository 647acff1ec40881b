"""FairFace as distributed: `fairface_label_<split>.csv` (file,age,gender,race,service_test) beside `train/` and `val/`.

The columns say what annotators perceived; there are no captions. Some copies write `fairface/val/1.jpg`.
"""

from evenclip.data.layouts.base import (
    Candidate,
    Description,
    ImageIndex,
    Reject,
    check_values,
    key_of,
    with_value_names,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import Source
from evenclip.data.text_tables import table_rows
from evenclip.errors import InputError

COLUMNS = ("file", "age", "gender", "race", "service_test")

DESCRIPTION = Description(
    files="`fairface_label_<split>.csv`",
    splits="train, val",
    columns="age, gender, race, service_test",
    signature=r"fairface_label_(?P<split>\w+)\.csv",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The faces of ``split`` (train or val), in the table's order."""
    name = f"fairface_label_{split}.csv"
    files = source.files()
    tables = [file for file in files if file.base == name]
    if len(tables) != 1:
        raise InputError(f"{len(tables)} files {name}", str(source.root), "give the split train or val, and its table")
    check_values(set(COLUMNS[1:]), options.values)
    images = ImageIndex(files)
    text = source.read_text(tables[0])
    if (header := text.partition("\n")[0].removesuffix("\r")) != ",".join(COLUMNS):
        raise InputError(f"columns {header[:200]}", f"{name}:1", f"FairFace has {','.join(COLUMNS)}")
    records: list[Candidate | Reject] = []
    for line, row in table_rows(text, name):
        if isinstance(row, str):
            records.append(Reject(f"{name}:{line}", "malformed_row", row))
            continue
        image = images.find(row.pop("file"))
        if isinstance(image, Reject):
            records.append(image)
        else:
            records.append(with_value_names(Candidate(image, key_of(image.name), [], row), options.values))
    return records
