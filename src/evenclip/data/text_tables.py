"""Rows of CSV, TSV and JSON-lines files; an unreadable row does not affect the others.

Lines end at a line feed alone: captions may hold Unicode's other separators (U+2028, U+0085). Quotation marks, in CSV
and in TSV, are read as pandas writes and reads them, field by field: a field that begins with one, ends with one and
doubles those between is quoted, and may go on over lines. A quotation mark that is none of these is

- in TSV a plain character, as in Conceptual Captions' files;
- in CSV a plain character too, if the line has the header's number of fields all the same; else the row is malformed.

So a mark that nobody closes never swallows the rows after it.
"""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from evenclip.errors import InputError

LONGEST_RECORD = 1000  # lines
Row = tuple[int, dict[str, Any] | str]


def table_rows(text: str, where: str, starts_row: Callable[[dict[str, str]], bool] = lambda row: True) -> Iterator[Row]:
    """Read CSV or TSV with a header; tabs separate if the header has one, else commas.

    Parameters
    ----------
    text : str
    where : str
        The file's name in messages.
    starts_row : callable, optional
        Whether a line with the header's number of fields is a row of its own. A quoted field that reaches over such a
        line is not believed. Default: every such line is.

    Yields
    ------
    (int, dict or str)
        The number of the row's first line, and its fields by column, or what is wrong with it.
    """
    lines = text.split("\n")
    delimiter = "\t" if "\t" in lines[0] else ","
    header = next(csv.reader([lines[0]], delimiter=delimiter), [])
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        raise InputError(f"two columns are called '{doubled[0]}'", f"{where}:1", "give each column one name")
    at = 1
    while at < len(lines):
        fields, n_lines = _quoted(lines, at, delimiter) if '"' in lines[at] else ([], 0)
        spanned = (_split(line, delimiter) for line in lines[at + 1 : at + n_lines])
        if len(fields) != len(header) or any(
            len(row) == len(header) and starts_row(dict(zip(header, row, strict=True))) for row in spanned
        ):
            fields, n_lines = _unquoted(lines[at], delimiter, len(header)), 1
        if isinstance(fields, str):
            yield at + 1, fields
        elif len(fields) == len(header):
            yield at + 1, dict(zip(header, fields, strict=True))
        elif lines[at].strip():
            yield at + 1, f"{len(fields)} fields, the header has {len(header)}"
        at += n_lines


def json_rows(text: str) -> Iterator[Row]:
    """Read JSON lines: the number of each line and its object, or what is wrong with it."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON ({error})"
        else:
            yield number, row if isinstance(row, dict) else "not a JSON object"


def _quoted(lines: list[str], at: int, delimiter: str) -> tuple[list[str], int]:
    """The fields of the record that begins at a line, and its number of lines; none if its quotation is not strict."""
    reader = csv.reader(
        (line + "\n" for line in islice(lines, at, at + LONGEST_RECORD)), delimiter=delimiter, strict=True
    )
    try:
        fields = next(reader)
    except (csv.Error, StopIteration):
        return [], 0
    return fields, reader.line_num


def _unquoted(line: str, delimiter: str, n_fields: int) -> list[str] | str:
    """The fields of a line alone; for CSV as pandas reads it, unless a quotation is open at its end."""
    if delimiter == "\t" or '"' not in line:
        return _split(line, delimiter)
    try:
        rows = list(csv.reader([line + "\n", "END"], delimiter=delimiter))
    except csv.Error as error:
        return str(error)
    return rows[0] if len(rows) == 2 and len(rows[0]) == n_fields else "a quotation mark that is not closed"


def _split(line: str, delimiter: str) -> list[str]:
    return line.removesuffix("\r").split(delimiter)
