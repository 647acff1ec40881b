"""Parquet files with the images inside, as Hugging Face's `datasets` (a column of {bytes, path}) and img2dataset write.

One row is one pair. `image_column` names the column of images (without it, the only one that there is) and
`caption_column` that of captions, a text or a list of texts. The keys are those of a column `key`, else file and row.
The other plain columns become columns of the pairs. Splits are folders, or file names such as
`train-00000-of-00002.parquet`.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from evenclip.data.captions_file import N_GUESSED, plain_columns, wordiest_column
from evenclip.data.layouts.base import (
    Candidate,
    Description,
    Recognition,
    Reject,
    check_values,
    key_of,
    one_line,
    short_key,
    with_value_names,
)
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source, UnreadableFile
from evenclip.errors import InputError
from evenclip.tables import PARQUET_ERRORS, open_parquet, unreadable_parquet

ROWS_AT_ONCE = 64
CAPTION_NAMES = ("caption", "captions", "text")
"""How a column of captions is mostly called; else it is known by its many words."""

DESCRIPTION = Description(
    files="Parquet files with a column of images: Hugging Face's `datasets`, img2dataset's `parquet` output",
    splits="folders, or names such as `train-00000-of-00002.parquet`",
    columns="the other plain columns",
)


def recognise(source: Source, captions: str | None = None) -> Recognition | None:
    """Splits of a source whose Parquet files have a column of images, and its columns of images and captions."""
    files = [] if captions else _parquet_files(source)
    table = _open(source, files[0]) if files else None
    images = _image_columns(table.schema_arrow) if table else []
    if not images:
        return None
    others = [name for name in table.schema_arrow.names if name not in images]
    rows = next(table.iter_batches(N_GUESSED, columns=others)).to_pylist()
    named = [name for name in others if name in CAPTION_NAMES]
    splits = dict.fromkeys(map(_split_name, files))
    options = {"image_column": images[0], "caption_column": named[0] if named else wordiest_column(rows)}
    return Recognition([] if "" in splits else list(splits), options)


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the rows of the files of ``split``, or of all, one file in memory at a time."""
    files = [file for file in _parquet_files(source) if split in ("all", _split_name(file))]
    if not files:
        what = "no Parquet file" if split == "all" else f"no Parquet file of the split '{split}'"
        raise InputError(what, str(source.root), "give a .parquet file, or a folder of them")
    for file in files:
        try:
            yield from _pairs(source, file, options)
        except PARQUET_ERRORS as error:
            raise unreadable_parquet(error, file.name) from None


def _parquet_files(source: Source) -> list[File]:
    return [file for file in next(source.groups()) if file.name.lower().endswith(".parquet")]


def _split_name(file: File) -> str:
    """`train` for `data/train-00000-of-00002.parquet` and for `train/0.parquet`; '' where nothing says it."""
    path = PurePosixPath(file.name)
    start, dash, _ = path.name.partition("-")
    return start if dash and "-of-" in path.name else path.parent.name


def _open(source: Source, file: File) -> Any:
    try:
        return open_parquet(file.name, source.read(file))
    except UnreadableFile as error:
        raise InputError(f"cannot be read ({error})", str(source.root / file.name), "mend the file") from None


def _image_columns(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if _holds_images(field.type)]


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _pairs(source: Source, file: File, options: ImportOptions) -> Iterator[Candidate | Reject]:
    table = _open(source, file)
    names = table.schema_arrow.names
    images = _image_columns(table.schema_arrow)
    image_column = options.image_column if options.image_column in images else images[0] if len(images) == 1 else None
    if image_column is None:
        hint = f"set image_column to one of {', '.join(images)}" if images else "give Parquet files with images inside"
        raise InputError(f"{len(images)} columns of images", file.name, hint)
    if options.caption_column not in names:
        hint = f"set caption_column; it has: {', '.join(names)}"
        raise InputError(f"no column '{options.caption_column}'", file.name, hint)
    plain = {field.name for field in table.schema_arrow if not pa.types.is_nested(field.type)}
    check_values(plain - {image_column, options.caption_column}, options.values)
    number = 0
    for batch in table.iter_batches(ROWS_AT_ONCE):
        for row in batch.to_pylist():
            yield with_value_names(_pair(row, file, number, image_column, options.caption_column), options.values)
            number += 1


def _pair(row: dict[str, Any], file: File, number: int, image_column: str, caption_column: str) -> Candidate | Reject:
    name = f"{file.name}:{number}"
    image, texts = row.pop(image_column), row.pop(caption_column)
    content = image.get("bytes") if isinstance(image, dict) else image
    if not content:
        return Reject(name, "malformed_row", str(row.get("error_message") or "the row has no image"))
    texts = texts if isinstance(texts, list) else [texts]
    captions = [caption for text in texts if isinstance(text, str) and (caption := one_line(text))]
    if not captions:
        return Reject(name, "missing_caption")
    key = str(row["key"]) if row.get("key") is not None else f"{file.name.removesuffix('.parquet')}_{number:08d}"
    columns = {column: value for column, value in plain_columns(row).items() if column not in UNUSED}
    return Candidate(File(name, len(content), file.path), short_key(key_of(key)), captions, columns, content=content)


UNUSED = ("status", "error_message", "exif")
"""Columns of img2dataset about its own download."""
