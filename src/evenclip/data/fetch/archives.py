"""Unpack a zip or a tar from anywhere: every member inside the folder, within limits, all of it or nothing.

Command: `evenclip data unpack ARCHIVE --out FOLDER`. `evenclip data import` reads archives where they lie and needs no
unpacking; this is for tools that do, and for archives within archives. An archive that tries to write elsewhere, to
link, or to swell past the limits is refused as a whole: there is no honest part of it to keep.
"""

import bz2
import errno
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

from pydantic import Field

from evenclip.data.source import ARCHIVE_ENDINGS, ARCHIVE_ERRORS, TAR_ENDINGS
from evenclip.errors import InputError
from evenclip.options import Options
from evenclip.progress import track
from evenclip.provenance import atomic_folder

CHUNK = 2**20
LARGEST_HEADER = 2**24  # no member's name or extended header is longer, but a hostile one may say it is
DECOMPRESSORS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open,
}  # fmt: skip


class UnpackOptions(Options):
    """Limits on what an archive may unpack to."""

    max_gb: Annotated[float, Field(gt=0)] = 500.0
    """Largest total size, in 10^9 bytes."""
    max_ratio: Annotated[float, Field(ge=1)] = 200.0
    """Largest total size as a multiple of the archive's; JSON packs about 20 to 1, bombs more than 1000 to 1."""
    max_members: Annotated[int, Field(ge=1)] = 5_000_000
    """Largest number of files and folders."""


class Hostile(Exception):
    """The archive does what no data set needs to."""


def unpack(archive: str | os.PathLike, out: str | os.PathLike, options: UnpackOptions) -> int:
    """Unpack ``archive`` into the new folder ``out``.

    Links, devices, names that lead outside, names given twice, and passwords are refused; modes, owners and times are
    not taken over. The limits hold for what is really written, whatever the archive says of itself.

    Returns
    -------
    int
        Number of files written.

    Raises
    ------
    InputError
        If ``out`` exists, the archive is broken, or it is refused; nothing is left behind.
    """
    archive, out = Path(archive), Path(out)
    if not archive.is_file() or not archive.name.lower().endswith(ARCHIVE_ENDINGS):
        raise InputError("not a .tar or a .zip", str(archive), f"known endings: {', '.join(ARCHIVE_ENDINGS)}")
    if out.exists():
        raise InputError("exists already", str(out), "remove it, or choose another --out")
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    budget = _Budget(archive, options)
    n = 0
    try:
        with atomic_folder(out) as folder:
            for name, content in track(members(archive, budget), f"unpack {archive.name}"):
                budget.count_member()
                n += _write(folder, name, content, budget)
    except Hostile as error:
        raise InputError(f"refused: {error}", str(archive), "do not use this archive, or raise the limit") from None
    except ARCHIVE_ERRORS as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        hint = "make room" if full else "fetch it again"
        raise InputError(f"cannot be unpacked ({error})", str(archive), hint) from None
    return n


def check_whole(path: Path, name: str) -> None:
    """Raise `InputError` if an archive or a .gz file ends early; other files have no sign of their end.

    For files of which neither size nor checksum is known. ``name`` says what it is. A compressed file is read through,
    a zip's members are not.
    """
    name = name.lower()
    try:
        if name.endswith(".zip"):
            zipfile.ZipFile(path).close()
        elif name.endswith(TAR_ENDINGS):
            with _decompressed(path, name) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for _ in _entries(tar):
                    pass
                _read_on(file)
        elif name.endswith(tuple(DECOMPRESSORS)):
            with _decompressed(path, name) as file:
                _read_on(file)
    except ARCHIVE_ERRORS as error:
        raise InputError(f"not whole ({error})", str(path), "fetch it again") from None


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, archive: Path, options: UnpackOptions):
        by_ratio = options.max_ratio * max(archive.stat().st_size, CHUNK)
        self.bytes = int(min(options.max_gb * 1e9, by_ratio))
        self.why = (
            f"max_ratio={options.max_ratio:g}" if by_ratio < options.max_gb * 1e9 else f"max_gb={options.max_gb:g}"
        )
        self.members = options.max_members
        self._written = self._members = 0

    def count_member(self) -> None:
        self._members += 1
        if self._members > self.members:
            raise Hostile(f"more than max_members={self.members} members")

    def count_bytes(self, n: int) -> None:
        self._written += n
        self.check_position(self._written)

    def check_position(self, position: int) -> None:
        if position > self.bytes:
            raise Hostile(f"unpacks to more than {self.bytes} bytes ({self.why})")


class _Watched:
    """A tar's decompressed stream that is refused as soon as a read leads past the budget.

    Also for what tarfile reads by itself: headers, and members it skips.
    """

    def __init__(self, file: IO[bytes], budget: _Budget):
        self._file, self._budget = file, budget
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise Hostile(f"a header of {size} bytes")
        content = self._file.read(size)
        self._budget.check_position(self._file.tell() - tarfile.RECORDSIZE)  # the end's padding is no content
        return content

    def seek(self, position: int) -> int:
        while (ahead := position - self.tell()) > 0 and self.read(min(ahead, CHUNK)):
            pass
        return position if ahead == 0 else self._file.seek(position)


def _decompressed(path: Path, name: str) -> IO[bytes]:
    return DECOMPRESSORS.get(PurePosixPath(name.lower()).suffix, lambda plain: open(plain, "rb"))(path)


def _zip_members(path: Path, budget: _Budget) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Each name with its content, None for a folder."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Hostile(f"'{entry.filename}' is a link or a device")
            if entry.is_dir():
                yield entry.filename, None
            else:
                with archive.open(entry) as content:
                    yield entry.filename, content


def _tar_members(path: Path, budget: _Budget) -> Iterator[tuple[str, IO[bytes] | None]]:
    with (
        _decompressed(path, path.name) as file,
        tarfile.open(fileobj=(watched := _Watched(file, budget)), mode="r:") as archive,
    ):
        for entry in _entries(archive):
            if not (entry.isreg() or entry.isdir()):
                raise Hostile(f"'{entry.name}' is a link or a device")
            yield entry.name, None if entry.isdir() else archive.extractfile(entry)
        _read_on(watched)


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All members; unlike for tarfile, only the mark of the end is the end, not a broken header or a cut."""
    while (entry := archive.next()) is not None:
        archive.members = []  # else it keeps every header
        yield entry
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"broken or cut off at byte {archive.offset}")


def _read_on(file: IO[bytes]) -> None:
    """To the end, where compressed files have their checksum."""
    while file.read(CHUNK):
        pass


def _write(folder: Path, name: str, content: IO[bytes] | None, budget: _Budget) -> int:
    """Write one member; return how many files that were."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise Hostile(f"the name '{name}' leads outside the archive")
    path = folder.joinpath(*parts)
    try:
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise Hostile(f"the name '{name}' is given twice") from None
    with file:
        while chunk := content.read(CHUNK):
            budget.count_bytes(len(chunk))
            file.write(chunk)
    return 1
