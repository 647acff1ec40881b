"""MIAP, the people of Open Images: `open_images_extended_miap_boxes_<split>.csv`, one row a person, and the images.

A pair is an image. Columns: gender and age, where all people in it are perceived alike ("" where they are not, or where
annotators did not say), and n_people. Values are MIAP's: "Predominantly Feminine", "Young" and so on.
"""

from collections.abc import Iterable

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

PREFIX = "open_images_extended_miap_boxes_"
NEEDED = ("ImageID", "GenderPresentation", "AgePresentation")
NOT_STATED = "Unknown"

DESCRIPTION = Description(
    files="`open_images_extended_miap_boxes_<split>.csv`",
    splits="train, val, test",
    columns="gender, age (where all people are alike), n_people",
    signature=r"open_images_extended_miap_boxes_(?P<split>\w+)\.csv",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> list[Candidate | Reject]:
    """The images of ``split`` (train, val or test), in the table's order."""
    files = source.files()
    tables = [file for file in files if file.base == f"{PREFIX}{split}.csv"]
    if len(tables) != 1:
        raise InputError(f"{len(tables)} files {PREFIX}{split}.csv", str(source.root), "splits: train, val, test")
    text = source.read_text(tables[0])
    header = text.partition("\n")[0].removesuffix("\r").split(",")
    if missing := [name for name in NEEDED if name not in header]:
        raise InputError(f"no column '{missing[0]}'", tables[0].name, "give MIAP's table of boxes")
    check_values({"gender", "age", "n_people"}, options.values)
    people: dict[str, list[dict[str, str]]] = {}
    records: list[Candidate | Reject] = []
    for line, row in table_rows(text, tables[0].base):
        if isinstance(row, str) or not row["ImageID"]:
            problem = row if isinstance(row, str) else "no ImageID"
            records.append(Reject(f"{tables[0].base}:{line}", "malformed_row", problem))
            continue
        people.setdefault(row["ImageID"], []).append(row)
    images = ImageIndex(files)
    for image_id, boxes in people.items():
        image = images.find(f"{image_id}.jpg")
        if isinstance(image, Reject):
            records.append(image)
            continue
        columns = {
            "gender": _common_value(box["GenderPresentation"] for box in boxes),
            "age": _common_value(box["AgePresentation"] for box in boxes),
            "n_people": str(len(boxes)),
        }
        candidate = Candidate(image, key_of(f"{image_id}.jpg"), [], columns)
        records.append(with_value_names(candidate, _with_empty(options.values)))
    return records


def _common_value(values: Iterable[str | None]) -> str:
    distinct = {value or NOT_STATED for value in values}
    return distinct.pop() if len(distinct) == 1 and NOT_STATED not in distinct else ""


def _with_empty(values: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Keep empty values empty, whatever names the others get."""
    return {column: {"": "", **names} for column, names in values.items()}
