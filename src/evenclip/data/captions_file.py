"""Captions files: CSV or TSV with a header, or JSON lines; one or more rows for an image."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evenclip.data.layouts.base import Reject, one_line
from evenclip.data.options import ImportOptions
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.data.source import Source
from evenclip.errors import InputError

JSON_ENDINGS = (".jsonl", ".ndjson")


@dataclass
class CaptionedImage:
    """What the rows of one image say; the first row's other columns count."""

    captions: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)


def read_captions(source: Source, options: ImportOptions) -> tuple[dict[str, CaptionedImage], list[Reject]]:
    """Rows by image name as the file spells it, and the rows that cannot be read."""
    file = next((file for file in source.files() if file.name == options.captions), None)
    if file is None:
        raise InputError(f"no file '{options.captions}'", str(source.root), "give its path below the source")
    text = source.read_text(file)
    rows = _json_rows(text) if file.name.lower().endswith(JSON_ENDINGS) else _table_rows(text)
    images: dict[str, CaptionedImage] = {}
    rejects: list[Reject] = []
    for line, row in rows:
        where = f"{file.name}:{line}"
        if isinstance(row, str):
            rejects.append(Reject(where, "malformed_row", row))
            continue
        if missing := [name for name in (options.image_column, options.caption_column) if name not in row]:
            have = ", ".join(row) or "nothing"
            raise InputError(f"no column '{missing[0]}'", where, f"set image_column and caption_column; it has: {have}")
        name = unicodedata.normalize("NFC", str(row.pop(options.image_column))).strip().replace("\\", "/")
        captions = row.pop(options.caption_column)
        captions = captions if isinstance(captions, list) else [captions]
        image = images.setdefault(name.removeprefix("./"), CaptionedImage())
        image.captions += [caption for text in captions if (caption := one_line(str(text or "")))]
        image.columns = image.columns or _columns(row)
    return images, rejects


def _columns(row: dict[str, Any]) -> dict[str, str]:
    """Plain values as strings; names that every pair has already are left out."""
    plain = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    return {
        one_line(name): "" if value is None else one_line(str(value))
        for name, value in plain.items()
        if name not in PAIR_COLUMNS
    }


def _table_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each row with its line number, or what is wrong with it; tabs separate if the header has one, else commas."""
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL  # captions in TSV carry bare quotation marks
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    header = next(reader, [])
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, str(error)
            continue
        if len(row) == len(header):
            yield reader.line_num, dict(zip(header, row, strict=True))
        elif row:
            yield reader.line_num, f"{len(row)} fields, the header has {len(header)}"


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON ({error})"
        else:
            yield number, row if isinstance(row, dict) else "not a JSON object"
