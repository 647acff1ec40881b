"""Expected checksums of files, the record of files already fetched, and checks that a fetched file is complete."""

import bz2
import gzip
import hashlib
import json
import lzma
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from evenclip.data.fetch.registry import RawFile
from evenclip.data.source import ARCHIVE_ERRORS, TAR_ENDINGS, tar_members
from evenclip.errors import InputError
from evenclip.provenance import write_json

CHUNK = 2**20
DECOMPRESSORS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open,
}  # fmt: skip


def check_whole(path: Path, name: str) -> None:
    """Raise `InputError` if an archive or a compressed file ends early; other files have no mark of their end.

    A compressed file is read through, a zip's members are not. The ending of ``name`` says what the file is.
    """
    name = name.lower()
    try:
        if name.endswith(".zip"):
            zipfile.ZipFile(path).close()
        elif name.endswith(TAR_ENDINGS):
            with _decompressed(path, name) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for _ in tar_members(tar):
                    tar.members = []  # else it keeps every header
                _read_on(file)
        elif name.endswith(tuple(DECOMPRESSORS)):
            with _decompressed(path, name) as file:
                _read_on(file)
    except ARCHIVE_ERRORS as error:
        raise InputError(f"not whole ({error})", str(path), "fetch it again") from None


def _decompressed(path: Path, name: str) -> IO[bytes]:
    return DECOMPRESSORS.get(PurePosixPath(name).suffix, lambda plain: open(plain, "rb"))(path)


def _read_on(file: IO[bytes]) -> None:
    """To the end, where compressed files have their checksum."""
    while file.read(CHUNK):
        pass


RECORD_FILE = "fetched.json"


@dataclass(frozen=True)
class Expected:
    """Size and checksums that a file must have; None = not known. ``source`` is who states them, for messages."""

    bytes: int | None
    sha256: str | None
    md5: str | None
    source: str

    @property
    def has_checksum(self) -> bool:
        """Whether the content is known, not only the size."""
        return self.sha256 is not None or self.md5 is not None


class FetchRecord:
    """The record, `fetched.json`, of the files in a data set's folder."""

    def __init__(self, folder: Path):
        self.path = folder / RECORD_FILE
        self._guard = threading.Lock()
        try:
            self._files = json.loads(self.path.read_text(encoding="utf-8"))["files"] if self.path.exists() else {}
        except (ValueError, KeyError, TypeError) as error:
            hint = "remove it if you trust the files beside it"
            raise InputError(f"not readable ({error})", str(self.path), hint) from None

    def expected(self, file: RawFile) -> Expected:
        """What the registry and the record say of a file; `InputError` where they disagree."""
        recorded = self._files.get(file.path, {})
        registered = {name: value for name in ("bytes", "sha256") if (value := getattr(file, name)) != "unknown"}
        for name, value in registered.items():
            if name in recorded and recorded[name] != value:
                what = f"{file.path}: the first fetch had {name} {recorded[name]}, the registry says {value}"
                raise InputError(what, str(self.path), "if the publisher has a new version, fetch into a new folder")
        facts = recorded | registered
        source = "the registry" if registered.keys() >= {"bytes", "sha256"} or not recorded else RECORD_FILE
        return Expected(facts.get("bytes"), facts.get("sha256"), file.md5, source)

    def add(self, file: RawFile, path: Path, sha256: str, url: str | None) -> bool:
        """Add a file to the record, unless it is there; return whether it was added."""
        with self._guard:
            if file.path in self._files:
                return False
            self._files[file.path] = {"bytes": path.stat().st_size, "sha256": sha256, "url": url}
            write_json({"files": self._files}, self.path)
            return True


def check_content(path: Path, expected: Expected) -> tuple[str, list[str]]:
    """Read a file once; return its SHA-256 sum and how it differs from what is expected."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    sums = (sha256, md5) if expected.md5 else (sha256,)
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            size += len(chunk)
            for algorithm in sums:
                algorithm.update(chunk)
    actual = {"bytes": size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}
    differs = [
        f"{name} {value}, but {expected.source} says {wanted}"
        for name, value in actual.items()
        if (wanted := getattr(expected, name)) is not None and wanted != value
    ]
    return actual["sha256"], differs
