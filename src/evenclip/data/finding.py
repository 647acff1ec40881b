"""Find, below a source, the images and the annotation files that a data set's tables speak of."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, TypeVar

from evenclip.data.candidates import Reject
from evenclip.data.json_stream import iterate_items
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

T = TypeVar("T")


class ImageIndex:
    """Images by name, where tables spell more or less of the path than there is."""

    def __init__(self, files: Iterable[File]):
        self._by_base: dict[str, list[File]] = {}
        for file in files:
            if file.is_image:
                self._by_base.setdefault(file.base, []).append(file)

    def fitting(self, name: str) -> list[File]:
        """The image of that path; if there is none, all whose path ends as ``name`` does, or the other way round."""
        alike = [file for file in self._by_base.get(name.rpartition("/")[2], []) if _same_file(name, file)]
        return [file for file in alike if file.name == name] or alike


def _same_file(name: str, file: File) -> bool:
    return f"/{file.name}".endswith(f"/{name}") or f"/{name}".endswith(f"/{file.name}")


def annotation_files(source: Source, options: ImportOptions) -> list[File]:
    """The JSON file that the option `captions` names, or those in the folder it names; else all that lie loose."""
    chosen = options.captions and options.captions.strip("/")
    there = [file for file in source.files() if file.name.lower().endswith(".json")]
    if chosen is None:
        found = [file for file in there if file.member is None]
    else:
        found = [file for file in there if file.name == chosen or file.name.startswith(f"{chosen}/")]
    if not found:
        raise InputError(f"no .json file at '{chosen or '.'}'", str(source.root), "set captions: its path below")
    return found


def read_items(source: Source, file: File) -> Iterator[tuple[str, Any]]:
    """The items of a JSON file, one at a time (`iterate_items`)."""
    with source.open_text(file) as text:
        yield from iterate_items(text, str(source.root / file.name))


class MalformedItem(Exception):
    """An item that is not as its format promises; `or_reject` makes a record for the quarantine of it."""


def member(item: Any, name: str, kind: type) -> Any:
    """The member ``name`` of a JSON object; `MalformedItem` if it is not there or not of that kind."""
    if isinstance(item, dict) and isinstance(item.get(name), kind):
        return item[name]
    raise MalformedItem(f"no '{name}' of type {kind.__name__}")


def or_reject(read: Callable[[], T], name: str) -> T | Reject:
    """What ``read`` finds in an item; one bad item among many costs no more than itself."""
    try:
        return read()
    except MalformedItem as error:
        return Reject(name, "malformed_row", str(error))


def stem(file: File) -> str:
    """The file's name without folder and ending."""
    return PurePosixPath(file.name).stem
