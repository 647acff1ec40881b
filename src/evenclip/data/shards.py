"""Image-text shards in the img2dataset/WebDataset layout: written whole, read in order.

A data folder holds `00000.tar` (`<key>.jpg`, `<key>.txt`, `<key>.json` of each pair), `00000.parquet` (one row per
pair), ..., `quarantine.parquet` (what was left out, and why) and `manifest.json`. A pair is one image with one or
more captions: `.txt` has the first, `.json` and the parquet column `captions` have all.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from evenclip.data.tar_writer import TarWriter
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_folder, fingerprint, sha256_file
from evenclip.tables import QUARANTINE_SCHEMA, check_unique_keys, read_table

PAIR_COLUMNS = ("key", "caption", "captions", "width", "height", "sha256")


@dataclass(frozen=True)
class Part:
    """Part ``number``, from 1, of a data folder cut into ``of`` blocks of neighbouring shards, as even as can be."""

    number: int = 1
    of: int = 1

    @classmethod
    def from_argument(cls, text: str) -> Self:
        """Read ``NUMBER/OF``, e.g. ``2/8``."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise InputError(f"'{text}' is not a part", "--part", "write e.g. 2/8, the second of eight")
        return cls(int(number), int(of))

    def shards(self, folder: str | Path) -> list[dict[str, Any]]:
        """The manifest's entries of the shards in this part; `InputError` where there are fewer shards than parts."""
        entries = read_manifest(folder)["shards"]
        if not entries:
            raise InputError("the data folder has no pairs", str(folder), "see its quarantine.parquet")
        if len(entries) < self.of:
            raise InputError(
                f"{len(entries)} shards cannot be cut into {self.of} parts", str(folder), f"at most {len(entries)}"
            )
        return entries[len(entries) * (self.number - 1) // self.of : len(entries) * self.number // self.of]


WHOLE = Part()


class ShardWriter:
    """Writes pairs into a folder of shards; use `write_shards`, which makes the folder appear whole or not at all."""

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
        pq.write_table(table, self.folder / f"{name}.parquet", compression="zstd")
        files = {f"{name}.tar": digest, f"{name}.parquet": sha256_file(self.folder / f"{name}.parquet")}
        self.shards.append({"name": name, "n": len(self._rows), "sha256": files})
        self._rows = []

    def abandon(self) -> None:
        """Let go of the open tar; the folder is about to be removed."""
        if self._tar is not None:
            self._tar.abandon()

    def close(self, manifest: Manifest) -> None:
        """Finish the last shard and write the quarantine table and the manifest."""
        if self._rows:
            self._finish_shard()
        quarantine = pa.Table.from_pylist(self.quarantined, schema=QUARANTINE_SCHEMA)
        pq.write_table(quarantine, self.folder / "quarantine.parquet")
        reasons = [entry["reason"] for entry in self.quarantined]
        manifest.write(
            self.folder / "manifest.json",
            n=self.n,
            n_quarantined=len(reasons),
            quarantined={reason: reasons.count(reason) for reason in sorted(set(reasons))},
            shards=self.shards,
            content=fingerprint([shard["sha256"] for shard in self.shards]),
        )


class write_shards:  # a verb, as it reads where it is used
    """Context manager: ``with write_shards(out, manifest) as writer: writer.add(...)``; on error nothing is left."""

    def __init__(self, out: Path, manifest: Manifest, shard_size: int = 10_000):
        self._folder, self._manifest, self._shard_size = atomic_folder(out), manifest, shard_size

    def __enter__(self) -> ShardWriter:
        self._writer = ShardWriter(self._folder.__enter__(), self._shard_size)
        return self._writer

    def __exit__(self, *error: Any) -> bool | None:
        if error[0] is None:
            self._writer.close(self._manifest)
        else:
            self._writer.abandon()
        return self._folder.__exit__(*error)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a data folder; `InputError` if there is none."""
    path = Path(folder) / "manifest.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("not a data folder (no manifest.json)", str(folder), "make one with `evenclip data`") from None
    except ValueError as error:
        raise InputError(f"not readable JSON ({error})", str(path), "make the folder again") from None


def read_pairs(folder: str | Path, columns: list[str] | None = None, part: Part = WHOLE) -> pa.Table:
    """One row per pair of ``part``, in shard order; the images stay in the tars (`iterate_images`)."""
    names = [shard["name"] for shard in part.shards(folder)]
    tables = [read_table(Path(folder) / f"{name}.parquet", columns) for name in names]
    table = pa.concat_tables(tables, promote_options="permissive")
    if "key" in table.column_names:
        check_unique_keys(table.column("key"), str(folder))
    return table


@dataclass(frozen=True)
class ImagePlace:
    """Where the JPEG bytes of a pair lie: ``size`` bytes from ``offset`` of the tar."""

    key: str
    tar: Path
    offset: int
    size: int


def locate_images(folder: str | Path) -> Iterator[ImagePlace]:
    """Yield where each pair's image lies, in the order of `read_pairs`, so that any can be read without the others."""
    for path, _, member in _members(folder):
        yield ImagePlace(member.name.removesuffix(".jpg"), path, member.offset_data, member.size)


def iterate_images(folder: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield (key, JPEG bytes) in the order of `read_pairs`."""
    for path, tar, member in _members(folder):
        with _readable(path):
            content = tar.extractfile(member).read()
        yield member.name.removesuffix(".jpg"), content


def _members(folder: str | Path) -> Iterator[tuple[Path, tarfile.TarFile, tarfile.TarInfo]]:
    for shard in read_manifest(folder)["shards"]:
        path = Path(folder) / f"{shard['name']}.tar"
        with _readable(path), tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    yield path, tar, member


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"not a readable tar ({error})", str(path), "make the data folder again") from None
