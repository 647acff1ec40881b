"""Write the tar of a shard: the bytes that `tarfile` would write in USTAR format, several times as fast.

All members have the same header but for name, size and checksum, so it is made once and filled in; and the file's
SHA-256 sum is taken as it is written, not by reading it again.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

BUFFER = 2**20
LONGEST_NAME = 100  # bytes, in the header's first field
# mtime 0, no owner: equal pairs give equal bytes
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_LARGEST = 8**11 - 1


class TarWriter:
    """A tar that is being written, made anew at ``path``."""

    def __init__(self, path: Path):
        self._file = path.open("wb", buffering=BUFFER)
        self._sha256 = hashlib.sha256()
        self._size = 0

    def add(self, members: Mapping[str, bytes]) -> None:
        """Add members by name, of at most `LONGEST_NAME` bytes and 8 GiB each."""
        blocks = []
        for name, content in members.items():
            blocks += [header(name, len(content)), content, bytes(-len(content) % tarfile.BLOCKSIZE)]
        self._write(b"".join(blocks))

    def close(self) -> str:
        """Write the end and close the file; return its SHA-256 sum."""
        end = self._size + 2 * tarfile.BLOCKSIZE
        self._write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        self._file.close()
        return self._sha256.hexdigest()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._sha256.update(content)
        self._size += len(content)


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member; its checksum is the sum of them, itself counted as eight spaces."""
    encoded = name.encode()
    if len(encoded) > LONGEST_NAME or size > _LARGEST:
        raise ValueError(f"'{name}' of {size} bytes does not fit into a tar header")
    block = bytearray(_HEADER)
    block[_NAME] = encoded.ljust(LONGEST_NAME, b"\0")
    block[_SIZE] = b"%011o\0" % size
    block[_CHECKSUM] = b" " * 8
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)
