"""What a layout finds among the files: pairs that may be imported, and records that cannot be, with the reason."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from evenclip.data.source import IMAGE_ENDINGS, File
from evenclip.errors import InputError

Reason = Literal[
    "unreadable_image", "image_too_large", "missing_image", "missing_caption", "duplicate_image", "duplicate_key",
    "stray_name", "malformed_row", "other_file",
]  # fmt: skip
MAX_KEY_BYTES = 90  # with its ending it must fit into a tar header's 100


@dataclass(frozen=True)
class Candidate:
    """A pair whose image has not been looked at yet; ``columns`` are the truth or metadata columns.

    ``box`` is the part of the image that counts: left, top, width, height in pixels; None = all of it. ``content`` is
    the image where it is no file of its own.
    """

    file: File
    key: str
    captions: list[str]
    columns: dict[str, str] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Reject:
    """A record that cannot become a pair; ``name`` is as its user knows it."""

    name: str
    reason: Reason
    detail: str = ""


def with_value_names(item: Candidate | Reject, values: Mapping[str, Mapping[str, str]]) -> Candidate | Reject:
    """Names for the values of columns; a value that has none is as stray as a file's name that fits no pattern."""
    if isinstance(item, Reject):
        return item
    columns = dict(item.columns)
    for column, names in values.items():
        if columns[column] not in names:
            return Reject(item.file.name, "stray_name", f"{column}={columns[column]} is not among `values`")
        columns[column] = names[columns[column]]
    return replace(item, columns=columns)


def check_values(columns: set[str], values: Mapping[str, Mapping[str, str]]) -> None:
    """`InputError` if names are given for the values of a column that is not there."""
    if unknown := set(values) - columns:
        raise InputError(f"no column '{min(unknown)}'", "values", f"columns: {', '.join(sorted(columns)) or 'none'}")


def key_of(path: str) -> str:
    """The key of an image: its path without the ending, and without dots, at which WebDataset readers would cut it."""
    ending = PurePosixPath(path).suffix
    stem = path[: -len(ending)] if ending.lower() in IMAGE_ENDINGS else path
    return short_key(stem.replace(".", "_"))


def short_key(key: str) -> str:
    """The key itself, or its start and a digest of all of it where it would not fit into a tar's header."""
    if len(key.encode()) <= MAX_KEY_BYTES:
        return key
    start = key.encode()[: MAX_KEY_BYTES - 17].decode(errors="ignore")
    return f"{start}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def one_line(text: str) -> str:
    """The text with every run of white space, line ends too, as one space; halves of Unicode pairs become "?"."""
    return " ".join(text.split()).encode("utf-8", "replace").decode()
