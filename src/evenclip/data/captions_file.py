"""Captions files: CSV or TSV with a header, JSON lines or Parquet; one or more rows for an image."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evenclip.data.layouts.base import Reject, one_line
from evenclip.data.options import ImportOptions
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.data.source import File, Source, UnreadableFile
from evenclip.data.text_tables import Row, json_rows, table_rows
from evenclip.errors import InputError
from evenclip.tables import PARQUET_ERRORS, open_parquet, unreadable_parquet

JSON_ENDINGS = (".jsonl", ".ndjson")


@dataclass
class CaptionedImage:
    """What the rows of one image say; the first row's other columns count."""

    captions: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)


@dataclass
class Captions:
    """What a captions file says.

    Attributes
    ----------
    images : dict of str to CaptionedImage
        By image name as the file spells it.
    malformed : list of Reject
        The rows that cannot be read.
    named_there : set of str
        What may be names of files, without folders, in those rows: an image of such a name lacks its caption because
        of the row, which counts already.
    """

    images: dict[str, CaptionedImage] = field(default_factory=dict)
    malformed: list[Reject] = field(default_factory=list)
    named_there: set[str] = field(default_factory=set)


def read_captions(source: Source, options: ImportOptions) -> Captions:
    """Read a captions file; `InputError` if it is missing, is not readable, or lacks a column."""
    file = next((file for file in source.files() if file.name == options.captions), None)
    if file is None:
        raise InputError(f"no file '{options.captions}'", str(source.root), "give its path below the source")
    captions = Captions()
    text = "" if file.name.lower().endswith(".parquet") else source.read_text(file)
    lines = text.split("\n")
    for number, row in _rows(source, file, text, options):
        where = f"{file.name}:{number}"
        if isinstance(row, str):
            captions.malformed.append(Reject(where, "malformed_row", row))
            captions.named_there.update(part.strip() for part in _NAME_ENDS.split(lines[number - 1]))
            continue
        if missing := [name for name in (options.image_column, options.caption_column) if name not in row]:
            have = ", ".join(row) or "nothing"
            raise InputError(f"no column '{missing[0]}'", where, f"set image_column and caption_column; it has: {have}")
        name = unicodedata.normalize("NFC", str(row.pop(options.image_column))).strip().replace("\\", "/")
        texts = row.pop(options.caption_column)
        texts = texts if isinstance(texts, list) else [texts]
        image = captions.images.setdefault(name.removeprefix("./"), CaptionedImage())
        image.captions += [caption for text in texts if (caption := one_line(str(text or "")))]
        image.columns = image.columns or _columns(row)
    return captions


_NAME_ENDS = re.compile(r"[,;\t\"/\\]")


def _rows(source: Source, file: File, text: str, options: ImportOptions) -> Iterator[Row]:
    name = file.name.lower()
    if name.endswith(".parquet"):
        return enumerate(_parquet_rows(source, file))
    if name.endswith(JSON_ENDINGS):
        return json_rows(text)
    bases = {other.base for other in source.files()}

    def names_a_file(row: dict[str, str]) -> bool:
        image = row.get(options.image_column, "").strip('"').replace("\\", "/")
        return image.rpartition("/")[2] in bases

    return table_rows(text, file.name, starts_row=names_a_file)


def _parquet_rows(source: Source, file: File) -> list[dict[str, Any]]:
    try:
        return open_parquet(file.name, source.read(file)).read().to_pylist()
    except InputError:
        raise
    except (*PARQUET_ERRORS, UnreadableFile) as error:
        raise unreadable_parquet(error, file.name) from None


def _columns(row: dict[str, Any]) -> dict[str, str]:
    """Plain values as strings; names that every pair has already are left out."""
    plain = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    return {
        one_line(name): "" if value is None else one_line(str(value))
        for name, value in plain.items()
        if name not in PAIR_COLUMNS
    }
