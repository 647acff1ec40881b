"""Rows of url lists: TSV as Conceptual Captions has them, with or without a header, or Parquet as LAION and DataComp.

A header, or a Parquet file, names its columns: `url`, and `caption` or `text`, in small letters or capitals; the others
become columns of the pairs. Fields of a TSV are taken as they are: their quotation marks belong to the captions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenclip.data.layouts.base import one_line
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.errors import InputError
from evenclip.tables import PARQUET_ERRORS, open_parquet, unreadable_parquet

CAPTION_NAMES = ("caption", "text")


@dataclass(frozen=True)
class Row:
    """A row of the list; ``wrong`` says why it cannot be used, if so."""

    number: int
    values: dict[str, str]
    wrong: str | None = None


def read_rows(url_list: Path, columns: list[str]) -> Iterator[Row]:
    """Yield every row, with the values `url` and `caption`.

    Parameters
    ----------
    url_list : Path
    columns : list of str
        Names of a TSV's columns, where it has no header.

    Raises
    ------
    InputError
        If the file cannot be read, or its header lacks the two columns.
    """
    rows = _parquet_rows(url_list) if url_list.suffix.lower() == ".parquet" else _text_rows(url_list, columns)
    for row in rows:
        if "url" in row.values:
            row.values["url"] = row.values["url"].replace("&amp;", "&")  # as scraped from HTML; no address has it
        yield row


def _text_rows(url_list: Path, columns: list[str]) -> Iterator[Row]:
    with url_list.open("rb") as file:
        encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    names: list[str | None] = list(columns)
    with url_list.open(encoding=encoding, errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file):
            fields = [one_line(field) for field in line.split("\t")] if _is_text(line) else []
            if number == 0 and (fields == columns or "url" in map(str.lower, fields)):
                names = _pair_names(fields, f"{url_list}:1")
            elif len(fields) == len(names):
                yield Row(number, {name: field for name, field in zip(names, fields, strict=True) if name})
            else:
                wrong = f"{len(fields)} fields, not {len(names)}" if fields else "not UTF-8 text"
                yield Row(number, {"url": f"{url_list.name}:{number + 1}"}, wrong)


def _is_text(line: str) -> bool:
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:  # a byte that was no text
        return False
    return True


def _parquet_rows(url_list: Path) -> Iterator[Row]:
    number = 0
    try:
        file = open_parquet(url_list)
        names = _pair_names(file.schema_arrow.names, str(url_list))
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                plain = {name: _as_text(values[own]) for own, name in zip(values, names, strict=True) if name}
                yield Row(number, plain)
                number += 1
    except InputError:
        raise
    except PARQUET_ERRORS as error:
        raise unreadable_parquet(error, url_list) from None


def _as_text(value: Any) -> str:
    return "" if value is None or isinstance(value, list | dict | bytes) else one_line(str(value))


def _pair_names(header: list[str], where: str) -> list[str | None]:
    """Names of a list's columns in the pairs; None for names that pairs already have."""
    lowered = [name.lower() for name in header]
    caption = next((name for name in CAPTION_NAMES if name in lowered), None)
    if caption is None or lowered.count("url") != 1 or lowered.count(caption) != 1:
        raise InputError(f"columns {', '.join(header)}", where, "it needs one 'url' and one 'caption' or 'text'")
    own = {"url": "url", caption: "caption"}
    names = zip(lowered, header, strict=True)
    return [own.get(low) or (None if low in PAIR_COLUMNS else name) for low, name in names]
