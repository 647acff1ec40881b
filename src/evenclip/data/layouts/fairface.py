"""FairFace as distributed: `fairface_label_<split>.csv` (file,age,gender,race,service_test) beside `train/` and `val/`.

The columns say what annotators perceived; there are no captions. Some copies write `fairface/val/1.jpg`.
"""

import csv

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
from evenclip.errors import InputError

COLUMNS = ("file", "age", "gender", "race", "service_test")

DESCRIPTION = Description(
    files="`fairface_label_<split>.csv`",
    splits="train, val",
    columns="age, gender, race, service_test",
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
    rows = csv.reader(source.read_lines(tables[0]))
    if (header := tuple(next(rows, ()))) != COLUMNS:
        raise InputError(f"columns {','.join(header)}", f"{name}:1", f"FairFace has {','.join(COLUMNS)}")
    records: list[Candidate | Reject] = []
    for row in rows:
        if len(row) != len(COLUMNS):
            records.append(Reject(f"{name}:{rows.line_num}", "malformed_row", f"{len(row)} fields"))
            continue
        image = images.find(row[0])
        if isinstance(image, Reject):
            records.append(image)
        else:
            candidate = Candidate(image, key_of(image.name), [], dict(zip(COLUMNS[1:], row[1:], strict=True)))
            records.append(with_value_names(candidate, options.values))
    return records
