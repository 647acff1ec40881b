"""Write image-text shards (`evenclip.data.shards` says how they look), whole or not at all.

The tars are the bytes that `tarfile` would write in USTAR format, several times as fast: all members have the same
header but for name, size and checksum, so it is made once and filled in; and the SHA-256 sum of the file is taken as it
is written, not by reading it again.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from evenclip.digests import fingerprint, sha256_file
from evenclip.provenance import Manifest, atomic_folder
from evenclip.tables import QUARANTINE_SCHEMA, write_table

BUFFER = 2**20
LONGEST_NAME = 100  # bytes, in the header's first field
# mtime 0, no owner: equal pairs give equal bytes
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_LARGEST = 8**11 - 1


class ShardWriter:
    """Writes pairs into a folder of shards; `write_shards` makes it appear whole or not at all."""

    def __init__(self, folder: Path, shard_size: int):
        self.folder, self.shard_size = folder, shard_size
        self.shards: list[dict[str, Any]] = []
        self.quarantined: list[dict[str, str]] = []
        self._rows: list[dict[str, Any]] = []
        self._tar: TarWriter | None = None

    @property
    def n(self) -> int:
        """Pairs written so far."""
        return sum(shard["n"] for shard in self.shards) + len(self._rows)

    def add(self, key: str, image: bytes, captions: list[str], columns: Mapping[str, Any], *, width: int, height: int,
            sha256: str) -> None:  # fmt: skip
        """Add one pair: JPEG bytes, its captions (may be empty), and truth or metadata columns."""
        if self._tar is None:
            self._tar = TarWriter(self.folder / f"{len(self.shards):05d}.tar")
        caption = captions[0] if captions else ""
        row = {"key": key, "caption": caption, "captions": captions, "width": width, "height": height, "sha256": sha256}
        row |= columns
        members = {"jpg": image, "txt": caption.encode(), "json": json.dumps(row).encode()}
        self._tar.add({f"{key}.{suffix}": content for suffix, content in members.items()})
        self._rows.append(row)
        if len(self._rows) == self.shard_size:
            self._finish_shard()

    def quarantine(self, name: str, reason: str, detail: str = "") -> None:
        """Count a record that cannot be used; ``reason`` is one of a few fixed words, ``detail`` is free text."""
        self.quarantined.append({"name": name, "reason": reason, "detail": detail})

    def _finish_shard(self) -> None:
        name = f"{len(self.shards):05d}"
        digest = self._tar.close()
        self._tar = None
        names = dict.fromkeys(name for row in self._rows for name in row)  # rows may differ in their metadata
        table = pa.table({name: [row.get(name) for row in self._rows] for name in names})
        captions = table.column("captions").cast(pa.list_(pa.string()))  # all-empty lists would be list<null>
        table = table.set_column(table.schema.get_field_index("captions"), "captions", captions)
        write_table(table, self.folder / f"{name}.parquet")
        digests = {f"{name}.tar": digest, f"{name}.parquet": sha256_file(self.folder / f"{name}.parquet")}
        sizes = {file: (self.folder / file).stat().st_size for file in digests}
        self.shards.append({"name": name, "n": len(self._rows), "bytes": sizes, "sha256": digests})
        self._rows = []

    def abandon(self) -> None:
        """Close the open tar; the folder is about to be removed."""
        if self._tar is not None:
            self._tar.abandon()

    def close(self, manifest: Manifest) -> None:
        """Finish the last shard and write the quarantine table and the manifest."""
        if self._rows:
            self._finish_shard()
        quarantine = pa.Table.from_pylist(self.quarantined, schema=QUARANTINE_SCHEMA)
        write_table(quarantine, self.folder / "quarantine.parquet")
        reasons = [entry["reason"] for entry in self.quarantined]
        manifest.write(
            self.folder / "manifest.json",
            n=self.n,
            n_quarantined=len(reasons),
            quarantined={reason: reasons.count(reason) for reason in sorted(set(reasons))},
            shards=self.shards,
            content=fingerprint([shard["sha256"] for shard in self.shards]),
        )


@contextmanager
def write_shards(out: Path, manifest: Manifest, shard_size: int = 10_000) -> Iterator[ShardWriter]:
    """Context manager: ``with write_shards(out, manifest) as writer: writer.add(...)``; an error leaves nothing."""
    with atomic_folder(out) as folder:
        writer = ShardWriter(folder, shard_size)
        try:
            yield writer
            writer.close(manifest)
        except BaseException:
            writer.abandon()
            raise


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
        with suppress(OSError):  # a full disk has no room for what is left to write either
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
