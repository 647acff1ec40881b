"""What layouts share: candidate pairs, rejected records with their reason, images by name, JSON items, keys."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar

from evenclip.data.json_stream import iterate_items
from evenclip.data.options import ImportOptions
from evenclip.data.source import IMAGE_ENDINGS, File, Source
from evenclip.errors import InputError

Reason = Literal[
    "unreadable_image", "image_too_large", "missing_image", "missing_caption", "duplicate_image", "duplicate_key",
    "stray_name", "malformed_row", "other_file",
]  # fmt: skip
MAX_KEY_BYTES = 90  # with its ending it must fit into a tar header's 100


@dataclass(frozen=True)
class Description:
    """A layout's line in docs/data.md, as Markdown."""

    files: str
    splits: str
    columns: str
    signature: str = ""
    """Of an official format: regular expression of the path of a file by which it is recognised; the group `split`
    holds the name of a split."""


@dataclass(frozen=True)
class Recognition:
    """How a source of some layout can be imported: its ``splits``, [] = it has none, and the options that it needs."""

    splits: list[str]
    options: dict[str, Any] = field(default_factory=dict)


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
    """Replace values of columns by their names in ``values``; reject an item with a value that has no name there."""
    if isinstance(item, Reject):
        return item
    columns = dict(item.columns)
    for column, names in values.items():
        if columns[column] not in names:
            return Reject(item.file.name, "stray_name", f"{column}={columns[column]} is not among `values`")
        columns[column] = names[columns[column]]
    return replace(item, columns=columns)


def with_caption(item: Candidate | Reject, template: str) -> Candidate | Reject:
    """Give an item without captions that of the template, `a photo of a {class}`, filled from its columns."""
    if isinstance(item, Reject) or item.captions:
        return item
    named = re.findall(r"\{(\w+)\}", template)
    if unknown := [name for name in named if name not in item.columns]:
        hint = f"columns: {', '.join(item.columns) or 'none'}"
        raise InputError(f"no column '{unknown[0]}'", f"caption_template: {template}", hint)
    caption = re.sub(r"\{(\w+)\}", lambda match: item.columns[match[1]].replace("_", " "), template)
    return replace(item, captions=[one_line(caption)])


def check_values(columns: set[str], values: Mapping[str, Mapping[str, str]]) -> None:
    """`InputError` if names are given for the values of a column that is not there."""
    if unknown := set(values) - columns:
        raise InputError(f"no column '{min(unknown)}'", "values", f"columns: {', '.join(sorted(columns)) or 'none'}")


def key_of(path: str, with_ending: bool = False) -> str:
    """The key of an image: its path without the ending, and without dots, at which WebDataset readers would cut it."""
    ending = PurePosixPath(path).suffix
    stem = path[: -len(ending)] if ending.lower() in IMAGE_ENDINGS and not with_ending else path
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


T = TypeVar("T")


class ImageIndex:
    """Images by name, where tables spell more or less of the path than there is, or its capital letters differently."""

    def __init__(self, files: Iterable[File]):
        self._by_base: dict[str, list[File]] = {}
        for file in files:
            if file.is_image:
                self._by_base.setdefault(file.base.casefold(), []).append(file)

    def matching(self, name: str) -> list[File]:
        """The image of that path; if there is none, all whose path ends as ``name`` does, or the other way round.

        Capital and small letters are told apart only where that leaves an image.
        """
        same_base = self._by_base.get(name.rpartition("/")[2].casefold(), [])
        same_end = [file for file in same_base if _same_end(name, file.name)]
        folded = [file for file in same_base if _same_end(name.casefold(), file.name.casefold())]
        return [file for file in same_end if file.name == name] or same_end or folded

    def find(self, name: str) -> File | Reject:
        """The only image that matches; else the record for the quarantine."""
        files = self.matching(name)
        if len(files) == 1:
            return files[0]
        return Reject(name, "missing_image", f"{len(files)} files of that name" if files else "")


def _same_end(name: str, other: str) -> bool:
    return f"/{other}".endswith(f"/{name}") or f"/{name}".endswith(f"/{other}")


def annotation_files(source: Source, options: ImportOptions) -> list[File]:
    """The JSON files at the option `captions`, a file or a folder; without it, all that are in no archive."""
    path = options.captions and options.captions.strip("/")
    files = [file for file in source.files() if file.name.lower().endswith(".json")]
    if path is None:
        files = [file for file in files if file.member is None]
    else:
        files = [file for file in files if file.name == path or file.name.startswith(f"{path}/")]
    if not files:
        raise InputError(f"no .json file at '{path or '.'}'", str(source.root), "set captions: its path below")
    return files


def read_items(source: Source, file: File) -> Iterator[tuple[str, Any]]:
    """The items of a JSON file, one at a time (`iterate_items`)."""
    with source.open_text(file) as text:
        yield from iterate_items(text, str(source.root / file.name))


class MalformedItem(Exception):
    """An item that breaks the rules of its format; `or_reject` turns it into a record for the quarantine."""


def member(item: Any, name: str, kind: type) -> Any:
    """The member ``name`` of a JSON object; `MalformedItem` if it is not there or not of that kind."""
    if isinstance(item, dict) and isinstance(item.get(name), kind):
        return item[name]
    raise MalformedItem(f"no '{name}' of type {kind.__name__}")


def or_reject(read: Callable[[], T], name: str) -> T | Reject:
    """Read an item, or reject it if it is malformed, so that one bad item does not stop the others."""
    try:
        return read()
    except MalformedItem as error:
        return Reject(name, "malformed_row", str(error))


def stem(file: File) -> str:
    """The file's name without folder and ending."""
    return PurePosixPath(file.name).stem


@dataclass(frozen=True)
class Choice:
    """An item of a compositional test: the caption must beat the foil. Names are unique within a ``probe``."""

    probe: str
    name: str
    image: str
    caption: str
    foil: str
    columns: dict[str, str] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None

    def candidate(self, images: ImageIndex) -> Candidate | Reject:
        """The pair with the columns `probe`, `foil` and `image`; its key is the probe and the item's name."""
        key = short_key(f"{self.probe}_{self.name}".replace(".", "_").replace("/", "_"))
        files = images.matching(self.image)
        caption, foil = one_line(self.caption), one_line(self.foil)
        if len(files) != 1:
            return Reject(f"{self.probe} {self.name}", "missing_image", f"{self.image}: {len(files)} files")
        if not caption or not foil:
            return Reject(f"{self.probe} {self.name}", "missing_caption", "caption or foil is empty")
        columns = {"probe": self.probe, "foil": foil, "image": files[0].name} | self.columns
        return Candidate(files[0], key, [caption], columns, self.box)
