"""Tables in CSV and TSV files, as spreadsheets, pandas and R write them.

The whole file is held in memory. Types are inferred column by column, as pyarrow does; missing values are written as in
pandas (empty, NA, NaN, null, ...). A byte-order mark, UTF-16 and compression (`.csv.gz`) are recognised.
"""

import codecs
import csv
import io
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from evenclip.errors import InputError

SUFFIXES = (".csv", ".tsv")
_COMPRESSION = (".gz", ".bz2", ".zst")
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def is_delimited(path: Path) -> bool:
    """Whether the name is that of a CSV or TSV file, compressed or not."""
    return _suffix(path) in SUFFIXES


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for ending in _COMPRESSION:
        name = name.removesuffix(ending)
    return Path(name).suffix


def read_delimited(path: Path, text_columns: Collection[str]) -> pa.Table:
    """Read a CSV or TSV file.

    Parameters
    ----------
    path : path
        The separator of a `.tsv` file is the tab; that of a `.csv` file is the comma, semicolon or tab, whichever its
        first line has most of.
    text_columns : collection of str
        Columns that are read as text, so that the key 007 stays 007.

    Raises
    ------
    InputError
        The file is missing, is not text, or a row has more or fewer values than the header.
    """
    try:
        with pa.input_stream(str(path), compression="detect") as file:
            data = file.read()
    except FileNotFoundError:
        raise InputError("no such file", str(path), "check the path") from None
    except OSError as error:
        raise InputError(f"it cannot be read ({error})", str(path), "check the file") from None
    try:
        text = data.decode(_MARKS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        instead = "save it as UTF-8, for instance with iconv or as 'CSV UTF-8' in a spreadsheet"
        raise InputError(f"it is not UTF-8 (byte {error.start})", str(path), instead) from None
    separator = "\t" if _suffix(path) == ".tsv" else max(",;\t", key=text.partition("\n")[0].count)
    _check_quotes(text, separator, path)
    try:
        return pacsv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=pacsv.ReadOptions(use_threads=False),  # its threads abort a process that ends with an error
            parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(text_columns, pa.string()), strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(
            f"not a readable table ({error})", str(path), "correct that row, or write the file again"
        ) from None


def _check_quotes(text: str, separator: str, path: Path) -> None:
    """Raise `InputError` for a quote that is never closed: everything after it would be one value."""
    if '"' not in text:
        return
    limit = csv.field_size_limit(len(text) + 1)  # captions may be longer than the default
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            pass
    except csv.Error as error:
        raise InputError(f"not a readable table ({error})", str(path), 'close the quote, or double it: ""') from None
    finally:
        csv.field_size_limit(limit)
