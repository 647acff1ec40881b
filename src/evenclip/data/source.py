"""Raw files in a folder, a tar or a zip, or in a folder with tars and zips, read without unpacking.

A file is addressed by its path below the root; an archive within a folder is read as if it had been unpacked there:
`root/Flicker8k_Dataset.tar` with the member `Flicker8k_Dataset/a.jpg` gives `Flicker8k_Dataset/a.jpg`.
"""

import hashlib
import io
import lzma
import os
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, Self, TextIO

from evenclip.errors import InputError

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ARCHIVE_ENDINGS = (*TAR_ENDINGS, ".zip")
ROOT_ENDINGS = (*ARCHIVE_ENDINGS, ".parquet")
"""Files that are a whole data set."""
IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")
# how the files of these formats begin: for files whose names have no ending
_IMAGE_START = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM|II\*\0|MM\0\*|RIFF....WEBP|....ftypavi[fs]", re.DOTALL
)

# what the readers of archives raise on broken ones; RuntimeError: a password, or a compression they do not know
ARCHIVE_ERRORS = (
    OSError, EOFError, RuntimeError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


class UnreadableFile(Exception):
    """One file cannot be read, though its neighbours may be."""


@dataclass(frozen=True, slots=True)
class File:
    """A file below the root.

    ``name`` is its path with "/"; ``size`` is in bytes; ``path`` is the file on disk that holds it, and ``member`` its
    entry there if that is an archive. ``looks_like_image`` is for names without ending: how the content begins.
    """

    name: str
    size: int
    path: Path
    member: tarfile.TarInfo | zipfile.ZipInfo | None = None
    looks_like_image: bool = False

    @property
    def base(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def is_image(self) -> bool:
        """Whether the name ends as an image's does or, without an ending, the content begins so."""
        return self.name.lower().endswith(IMAGE_ENDINGS) or self.looks_like_image


class Source:
    """The files below ``root``; a context manager, because the archive read last stays open.

    Attributes
    ----------
    refused : list of (str, str)
        Members of archives that are not read, and why: names that lead outside, links, devices.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        if not self.root.exists():
            raise InputError("no such file or folder", str(root), "give a folder, a .tar, a .zip or a .parquet")
        if self.root.is_file() and not self.root.name.lower().endswith(ROOT_ENDINGS):
            raise InputError("not a folder, a .tar, a .zip or a .parquet", str(root), "give the folder of the files")
        self.refused: list[tuple[str, str]] = []
        self._files: list[File] | None = None
        self._archive: tuple[Path, tarfile.TarFile | zipfile.ZipFile] | None = None
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_archive()

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files read so far, in that order."""
        return self._digest.hexdigest()

    def files(self) -> list[File]:
        """All files, in a fixed order; hidden ones and what macOS leaves in archives are passed over."""
        if self._files is None:
            self._files = [file for group in self.groups() for file in group]
        return self._files

    def file(self, path: str) -> File:
        """The file at ``path``, below the root or absolute; `InputError` if it is not there."""
        if os.path.isabs(path) and os.path.isfile(path):
            return self._file(os.path.basename(path), os.path.getsize(path), Path(path))
        file = next((file for file in self.files() if file.name == path), None)
        if file is None:
            raise InputError(f"no file '{path}'", str(self.root), "give its path below the source, or an absolute one")
        return file

    def groups(self) -> Iterator[list[File]]:
        """The files of each archive, one list at a time, after the files outside of archives."""
        archives, loose = [], []
        for path in walk_files(self.root):
            if path.name.lower().endswith(ARCHIVE_ENDINGS):
                archives.append(path)
            else:
                size = path.stat().st_size if path.exists() else 0
                name = path.name if path == self.root else _posix(path.relative_to(self.root))
                loose.append(self._file(name, size, path))
        yield loose
        for path in archives:
            yield self._members(path)

    def read(self, file: File) -> bytes:
        """The bytes of ``file``; `UnreadableFile` if the disk or the archive does not give them."""
        return self.read_hashed(file)[0]

    def read_hashed(self, file: File) -> tuple[bytes, str]:
        """The bytes of ``file``, as `read` gives them, and their SHA-256 sum."""
        try:
            if file.member is None:
                content = file.path.read_bytes()
            elif isinstance(file.member, zipfile.ZipInfo):
                content = self._open(file.path).read(file.member)
            else:
                content = self._open(file.path).extractfile(file.member).read()
        except FileNotFoundError:
            is_link = file.path.is_symlink()
            why = "a link to nothing (git-annex, DataLad, DVC: get its content)" if is_link else "it has vanished"
            raise UnreadableFile(why) from None
        except ARCHIVE_ERRORS as error:
            raise UnreadableFile(f"{type(error).__name__}: {error}") from None
        sha256 = hashlib.sha256(content)
        self._digest.update(f"{file.name}\n".encode() + sha256.digest())
        return content, sha256.hexdigest()

    def read_text(self, file: File) -> str:
        """The text of ``file``, UTF-8 or, with its mark, UTF-16; `InputError` if it is neither."""
        try:
            content = self.read(file)
            return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        except UnreadableFile as error:
            raise InputError(f"cannot be read ({error})", str(self.root / file.name), "correct the file") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError("not UTF-8 text", f"{self.root / file.name}:{line}", "save the file as UTF-8") from None

    def read_lines(self, file: File) -> list[str]:
        """The lines of a text, which end at a line feed alone: captions may hold Unicode's other separators."""
        lines = self.read_text(file).split("\n")
        return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]

    @contextmanager
    def open_text(self, file: File) -> Iterator[TextIO]:
        """The text of a ``file`` that may be too large to hold; read it to its end, and no other meanwhile."""
        try:
            with self._stream(file) as stream:
                hashed = _Hashed(stream)
                with io.TextIOWrapper(io.BufferedReader(hashed, 2**20), encoding="utf-8-sig") as text:
                    yield text
        except ARCHIVE_ERRORS as error:
            raise InputError(f"cannot be read ({error})", str(self.root / file.name), "correct the file") from None
        self._digest.update(f"{file.name}\n".encode() + hashed.digest)

    def _stream(self, file: File) -> BinaryIO:
        if file.member is None:
            return open(file.path, "rb")
        archive = self._open(file.path)
        return archive.open(file.member) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(file.member)

    def _members(self, path: Path) -> list[File]:
        folder = PurePosixPath() if path == self.root else PurePosixPath(_posix(path.relative_to(self.root))).parent
        self._close_archive()  # a tar that is open already may stand at its end, after which it lists nothing
        archive = self._open(path)
        if isinstance(archive, zipfile.ZipFile):
            entries = [
                (entry.filename, entry.file_size, entry, True)
                for entry in archive.infolist()
                if not entry.filename.endswith("/")
            ]
        else:
            try:
                members = [member for member in tar_members(archive) if not member.isdir()]
            except ARCHIVE_ERRORS as error:
                raise InputError(f"not a complete tar ({error})", str(path), "fetch it again") from None
            entries = [(member.name, member.size, member, member.isreg()) for member in members]
        files = []
        for name, size, entry, regular in entries:
            pure = PurePosixPath(name)
            if not pure.name:
                self.refused.append((_printable(name), "no name"))
            elif pure.is_absolute() or ".." in pure.parts:
                self.refused.append((_printable(name), "the name leads outside the archive"))
            elif not regular:
                self.refused.append((_printable(name), "a link or a device, not a file"))
            elif not _is_hidden(pure):
                files.append(self._file(_posix(folder / pure), size, path, entry))
        return files

    def _file(self, name: str, size: int, path: Path, member: tarfile.TarInfo | zipfile.ZipInfo | None = None) -> File:
        """The file; its first bytes are read only if its name has no ending, and not in compressed tars: too slow."""
        file = File(name, size, path, member)
        if "." in file.base or (member is not None and path.name.lower().endswith(TAR_ENDINGS[1:])):
            return file
        try:
            with self._stream(file) as stream:
                return replace(file, looks_like_image=_IMAGE_START.match(stream.read(16)) is not None)
        except ARCHIVE_ERRORS:
            return file

    def _open(self, path: Path) -> tarfile.TarFile | zipfile.ZipFile:
        if self._archive is None or self._archive[0] != path:
            self._close_archive()
            open_archive = zipfile.ZipFile if path.name.lower().endswith(".zip") else tarfile.open
            try:
                opened = open_archive(path)
            except ARCHIVE_ERRORS as error:
                raise InputError(f"not a readable archive ({error})", str(path), "fetch it again") from None
            self._archive = (path, opened)
        return self._archive[1]

    def _close_archive(self) -> None:
        if self._archive is not None:
            self._archive[1].close()
            self._archive = None


class _Hashed(io.RawIOBase):
    """A stream that knows the SHA-256 of what has been read from it."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._sha256 = stream, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        block = self._stream.read(len(buffer))
        self._sha256.update(block)
        buffer[: len(block)] = block
        return len(block)

    @property
    def digest(self) -> bytes:
        return self._sha256.digest()


def walk_files(root: Path) -> Iterator[Path]:
    """Yield the files below ``root`` in a fixed order, or ``root`` itself if it is a file.

    Links are followed, but none that leads back up; links to nothing are yielded too, for somebody meant a file to be
    there. Hidden files and folders, and what macOS leaves in archives, are passed over. `InputError` for a folder that
    cannot be read.
    """
    if root.is_file():
        yield root
        return
    seen = {str(folder) for folder in root.resolve().parents}
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_refuse_folder):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(PurePosixPath(name)))
        for name in sorted(names):
            path = Path(folder, name)
            if not _is_hidden(PurePosixPath(name)) and (path.is_file() or (path.is_symlink() and not path.exists())):
                yield path


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"the folder cannot be read ({error.strerror})", error.filename, "change its permissions")


def tar_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield all members; `tarfile.ReadError` for a cut or a broken header, which tarfile itself takes for the end."""
    while (member := archive.next()) is not None:
        yield member
    archive.fileobj.seek(archive.offset)
    rest = archive.fileobj.read(tarfile.BLOCKSIZE)
    if rest != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"{'broken header' if rest else 'cut off'} at byte {archive.offset}")


def _is_hidden(path: PurePosixPath) -> bool:
    return "__MACOSX" in path.parts or any(part.startswith(".") for part in path.parts)


def _posix(path: PurePath) -> str:
    return _printable(path.as_posix())


def _printable(name: str) -> str:
    """Composed Unicode (macOS decomposes names), and bytes that are not UTF-8 written out."""
    return unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode()
