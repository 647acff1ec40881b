"""Image-text shards in the img2dataset/WebDataset layout, and the one way to read them.

A data folder holds `00000.tar` (`<key>.jpg`, `<key>.txt`, `<key>.json` of each pair), `00000.parquet` (one row per
pair), ..., `quarantine.parquet` (what was left out, and why) and `manifest.json`. A pair is one image with one or
more captions: `.txt` has the first, `.json` and the parquet column `captions` have all.

Every file is checked against its size and SHA-256 sum in the manifest each time it is read, which costs less than a
fiftieth of decoding its images, and a tar's images against the keys of its Parquet file. So a file that was cut,
changed, swapped or lost is an error that names it, and never gives one pair the image of another.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa

from evenclip.digests import check_digest, fingerprint, sha256_file
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.tables import check_unique_keys, read_table

PAIR_COLUMNS = ("key", "caption", "captions", "width", "height", "sha256")
INSTEAD = "restore it, or make the data folder again"
_BLOCK = 512  # bytes of a tar's header; contents are padded to a multiple of it


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


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a data folder; `InputError` if there is none, or it is damaged."""
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        check_digest(manifest, path)
        digests = [shard["sha256"] for shard in manifest["shards"]]
        n = sum(shard["n"] for shard in manifest["shards"])
        if manifest["content"] != fingerprint(digests) or manifest["n"] != n:
            raise ValueError("its totals differ from those of its shards")
        return manifest
    except FileNotFoundError:
        raise InputError("not a data folder (no manifest.json)", str(folder), "make one with `evenclip data`") from None
    except (KeyError, TypeError) as error:
        raise InputError(f"not the manifest of a data folder ({error})", str(path), INSTEAD) from None
    except ValueError as error:
        raise InputError(f"not a whole manifest ({error})", str(path), INSTEAD) from None


def read_pairs(folder: str | Path, columns: list[str] | None = None, part: Part = WHOLE) -> pa.Table:
    """One row per pair of ``part``, in the order of the shards; the images stay in the tars (`iterate_images`).

    Raises
    ------
    InputError
        If a Parquet file is not the one that was written, a tar's size is wrong, or a key occurs twice.
    """
    tables = []
    for shard in part.shards(folder):
        _check_size(Path(folder), shard, ".tar")
        tables.append(_read_rows(Path(folder), shard, columns))
    table = pa.concat_tables(tables, promote_options="permissive")
    if "key" in table.column_names:
        check_unique_keys(table.column("key"), str(folder))
    return table


@dataclass(frozen=True)
class ImageLocation:
    """Location of the JPEG bytes of a pair: ``size`` bytes from ``offset`` of the tar."""

    key: str
    tar: Path
    offset: int
    size: int


def locate_images(folder: str | Path, keys: Collection[str] | None = None) -> Iterator[ImageLocation]:
    """Yield the location of each pair's image, so that any image can be read without the others.

    Parameters
    ----------
    keys : collection of str, optional
        Keys of the wanted pairs, as a set or dictionary for speed; default: all.

    Yields
    ------
    ImageLocation
        In the order of `read_pairs`.

    Raises
    ------
    InputError
        If a tar is not the one that was written, its images are not those of its pairs, or a wanted key is missing.
    """
    return (location for location, _ in _images(Path(folder), keys))


def iterate_images(folder: str | Path, keys: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Yield the key and the JPEG bytes of each pair; parameters, order and errors are those of `locate_images`."""
    for location, file in _images(Path(folder), keys):
        file.seek(location.offset)
        content = file.read(location.size)
        if len(content) < location.size:
            raise InputError("it has become shorter", str(location.tar), INSTEAD)
        yield location.key, content


def verify_dataset(folder: str | Path) -> int:
    """Check all files of a data folder; return the number of pairs. Command: `evenclip data verify DIR`.

    Raises
    ------
    InputError
        Naming each shard file that is missing, has changed or is not in the manifest.
    """
    folder = Path(folder)
    shards = read_manifest(folder)["shards"]
    problems = []
    for shard in track(shards, f"verify {folder}"):
        for check in (_check_tar, _read_rows):
            try:
                check(folder, shard)
            except InputError as error:
                problems.append(f"{Path(error.where).name}: {error.what}")
    listed = {file for shard in shards for file in shard["sha256"]}
    present = {path.name for path in folder.glob("[0-9]*") if path.suffix in (".tar", ".parquet")}
    problems += [f"{name}: not in the manifest" for name in sorted(present - listed)]
    if problems:
        raise InputError("; ".join(problems), str(folder), INSTEAD)
    return sum(shard["n"] for shard in shards)


def _check_size(folder: Path, shard: dict[str, Any], ending: str) -> Path:
    """The path of one file of a shard; `InputError` if it is missing or its size is not the manifest's."""
    path = folder / (shard["name"] + ending)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path), INSTEAD) from None
    expected = shard.get("bytes", {}).get(path.name, size)
    if size != expected:
        raise InputError(f"it has {size} bytes, but {expected} were written", str(path), INSTEAD)
    return path


def _check_content(folder: Path, shard: dict[str, Any], ending: str) -> Path:
    """The path of one file of a shard; `InputError` unless it is what was written."""
    path = _check_size(folder, shard, ending)
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path), INSTEAD) from None
    if digest != shard["sha256"].get(path.name):
        raise InputError("it has changed: its SHA-256 sum is not the manifest's", str(path), INSTEAD)
    return path


def _check_tar(folder: Path, shard: dict[str, Any]) -> Path:
    return _check_content(folder, shard, ".tar")


def _read_rows(folder: Path, shard: dict[str, Any], columns: list[str] | None = None) -> pa.Table:
    """The rows of a shard's Parquet file, as many as the manifest says."""
    path = _check_content(folder, shard, ".parquet")
    table = read_table(path, columns)
    if len(table) != shard["n"]:
        raise InputError(f"it has {len(table)} rows, its manifest says {shard['n']}", str(path), INSTEAD)
    return table


def _images(folder: Path, keys: Collection[str] | None) -> Iterator[tuple[ImageLocation, BinaryIO]]:
    """Where the wanted images of all tars lie, and the open tar."""
    n = 0
    for shard in read_manifest(folder)["shards"]:
        for location, file in _images_of(folder, shard):
            if keys is None or location.key in keys:
                n += 1
                yield location, file
    if keys is not None and n != len(keys):
        raise InputError(f"{len(keys) - n} of {len(keys)} images are not there", str(folder), INSTEAD)


def _images_of(folder: Path, shard: dict[str, Any]) -> Iterator[tuple[ImageLocation, BinaryIO]]:
    """All images of a shard's tar, which must be those of its Parquet file's keys, in their order."""
    keys = iter(_read_rows(folder, shard, ["key"]).column("key").to_pylist())
    tar = _check_tar(folder, shard)
    with open(tar, "rb") as file:
        for name, offset, size in _members(file, tar):
            if not name.endswith(".jpg"):
                continue
            key, expected = name.removesuffix(".jpg"), next(keys, None)
            if key != expected:
                problem = "that of no pair" if expected is None else f"where that of '{expected}' should be"
                raise InputError(f"the image '{key}' is {problem}", str(tar), INSTEAD)
            yield ImageLocation(key, tar, offset, size), file
    if (missing := next(keys, None)) is not None:
        raise InputError(f"the image of '{missing}' is missing", str(tar), INSTEAD)


def _members(file: BinaryIO, tar: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each member of a tar that `evenclip.data.shard_writer` wrote."""
    offset = 0
    while (header := file.read(_BLOCK)).strip(b"\0"):
        try:
            name, size = header[:100].rstrip(b"\0").decode(), int(header[124:135], 8)
        except ValueError:
            raise InputError(f"broken header at byte {offset}", str(tar), INSTEAD) from None
        yield name, offset + _BLOCK, size
        offset += _BLOCK + size + -size % _BLOCK
        file.seek(offset)
    if len(header) < _BLOCK:
        raise InputError("it is cut off", str(tar), INSTEAD)
