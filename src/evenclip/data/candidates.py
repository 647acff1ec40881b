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
    key = stem.replace(".", "_")
    if len(key.encode()) > MAX_KEY_BYTES:
        start = key.encode()[: MAX_KEY_BYTES - 17].decode(errors="ignore")
        key = f"{start}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return key


def one_line(caption: str) -> str:
    """The caption with every run of white space, line ends too, as one space."""
    return " ".join(caption.split())
