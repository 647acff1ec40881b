"""What a layout finds among the files: pairs that may be imported, and records that cannot be, with the reason."""

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from evenclip.data.source import IMAGE_ENDINGS, File

Reason = Literal[
    "unreadable_image", "image_too_large", "missing_image", "missing_caption", "duplicate_image", "duplicate_key",
    "stray_name", "malformed_row", "other_file",
]  # fmt: skip
MAX_KEY_BYTES = 90  # with its ending it must fit into a tar header's 100


@dataclass(frozen=True)
class Candidate:
    """A pair whose image has not been looked at yet; ``columns`` are the truth or metadata columns."""

    file: File
    key: str
    captions: list[str]
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """A record that cannot become a pair; ``name`` is as its user knows it."""

    name: str
    reason: Reason
    detail: str = ""


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
