"""Captions files: CSV or TSV with a header, JSON lines or Parquet; one or more rows for an image."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from evenclip.data.layouts.base import ImageIndex, Reject, one_line
from evenclip.data.options import ImportOptions
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.data.source import File, Source, UnreadableFile
from evenclip.data.text_tables import Row, json_rows, table_rows
from evenclip.errors import InputError
from evenclip.tables import PARQUET_ERRORS, open_parquet, unreadable_parquet

JSON_ENDINGS = (".jsonl", ".ndjson")
ENDINGS = (".csv", ".tsv", ".txt", ".parquet", *JSON_ENDINGS)
"""Endings of files that may be captions files."""
N_GUESSED = 200
"""Rows by which columns are guessed."""


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
    file = source.file(options.captions)
    captions = Captions()
    text = _text(source, file)
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
        name = image_name(row.pop(options.image_column))
        texts = row.pop(options.caption_column)
        texts = texts if isinstance(texts, list) else [texts]
        image = captions.images.setdefault(name, CaptionedImage())
        image.captions += [caption for text in texts if (caption := one_line(str(text or "")))]
        image.columns = image.columns or plain_columns(row)
    return captions


def guess_columns(source: Source, file: File) -> tuple[str, str, int] | None:
    """Columns of image names and of captions, by what they hold, and how many of the first rows name an image.

    The column of images is that in which most values name an image of ``source``; that of captions, of the other ones,
    the one with most words. None if the file is no table, or no column names images.

    Raises
    ------
    InputError
        The file names images, but has no names of columns, or has semicolons between them.
    """
    index = ImageIndex(source.files())
    try:
        rows = [
            row
            for _, row in islice(_rows(source, file, _text(source, file), ImportOptions()), N_GUESSED)
            if isinstance(row, dict)
        ]
    except InputError:
        return None
    _check_header([str(name) for name in rows[0]] if rows else [], index, str(source.root / file.name))
    n_images = Counter(name for row in rows for name, value in row.items() if index.matching(image_name(value)))
    if not n_images or (captions := wordiest_column(rows, n_images.most_common(1)[0][0])) is None:
        return None
    image_column, n = n_images.most_common(1)[0]
    return image_column, captions, n


def _check_header(names: list[str], index: ImageIndex, where: str) -> None:
    if any(index.matching(image_name(name)) for name in names):
        what = "the first line names an image, where the names of the columns should be"
        raise InputError(what, where, "begin the file with a line such as image,caption")
    if len(names) == 1 and ";" in names[0]:
        raise InputError("semicolons between the columns", where, "save the file with commas or tabs between them")


def wordiest_column(rows: list[dict[str, Any]], *others: str) -> str | None:
    """The column, none of ``others``, whose texts have most words; None if no column has text."""
    n_words: Counter[str] = Counter()
    for row in rows:
        for name, value in row.items():
            texts = value if isinstance(value, list) else [value]
            if name not in others and texts and all(isinstance(text, str) for text in texts):
                n_words[name] += len(texts[0].split())
    return n_words.most_common(1)[0][0] if n_words else None


def image_name(value: Any) -> str:
    """A cell with the name of an image, in the form of `File.name`."""
    return unicodedata.normalize("NFC", str(value)).strip().replace("\\", "/").removeprefix("./")


def _text(source: Source, file: File) -> str:
    """The text of a captions file; '' if it is Parquet."""
    return "" if file.name.lower().endswith(".parquet") else source.read_text(file)


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


def plain_columns(row: dict[str, Any]) -> dict[str, str]:
    """Plain values as strings; names that every pair has already are left out."""
    plain = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    return {
        one_line(name): "" if value is None else one_line(str(value))
        for name, value in plain.items()
        if name not in PAIR_COLUMNS
    }
