"""Whether an archive or a compressed file is whole, where neither its size nor a checksum is known."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from evenclip.data.source import ARCHIVE_ERRORS, TAR_ENDINGS, tar_members
from evenclip.errors import InputError

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
