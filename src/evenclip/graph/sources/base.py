"""Shared parts of the graph source readers: reading context, and access to files as they are distributed."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from evenclip.data.json_stream import iterate_items
from evenclip.data.picture_keys import PictureKeys
from evenclip.errors import InputError


@dataclass(frozen=True)
class SourceContext:
    """Context for reading a source: the available pictures, and the language (``GraphOptions.language``)."""

    pictures: PictureKeys
    language: str


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a plain text file, a .gz, or a .zip with one file in it; `InputError` if it cannot be read."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if len(names) != 1:
                    raise InputError(f"the zip holds {len(names)} files", str(path), "unpack it and name the file")
                with archive.open(names[0]) as stream, io.TextIOWrapper(stream, encoding="utf-8") as text:
                    yield text
        else:
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8") as text:
                yield text
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", str(path), "check the path, or fetch it again") from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", str(path), "fetch it again") from None


def read_json(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the items of a JSON file one at a time (`iterate_items`)."""
    with open_text(path) as text:
        yield from iterate_items(text, str(path))


def find_file(folder: Path, *names: str) -> Path | None:
    """First of the files ``names`` that exists in ``folder``, compressed or not; None if there is none."""
    candidates = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz", ".zip"))
    return next((path for path in candidates if path.is_file()), None)


def require_file(folder: Path, *names: str) -> Path:
    """As `find_file`; `InputError` if there is none."""
    path = find_file(folder, *names)
    if path is None:
        raise InputError(f"no {names[0]}", str(folder), "give the folder that holds it")
    return path
