"""Sizes and digests of outputs: recorded in the manifest that is written with them, compared when they are read.

The manifest of a folder is its `manifest.json`; that of a single file `labels.parquet` is the `labels.json` beside it.
Under "outputs" (of data folders, "shards") it holds the size and SHA-256 sum of every file, and under "digest" the
`fingerprint` of all its other entries. A file that no manifest records is taken as it is: it may be anybody's.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from evenclip.errors import InputError

MANIFEST = "manifest.json"
MARK = ".evenclip"
"""Empty file in every folder that may be replaced, because it was written here."""
AGAIN = "restore it, or run the stage that writes it again"
LARGEST_MANIFEST = 2**26  # bytes; a larger file beside a table is no manifest
_SETTLED_S = 2.0  # a file written less long ago may change again within the resolution of its time


@dataclass(frozen=True)
class Recorded:
    """What a manifest says of a file: its SHA-256 sum and, in manifests of this version, its size in bytes."""

    sha256: str
    size: int | None = None


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of any JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def sha256_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: str | os.PathLike) -> str:
    """`sha256_file`, computed once in a process for a file whose size, times and inode stay the same."""
    stat = os.stat(path)
    if time.time() - max(stat.st_mtime, stat.st_ctime) < _SETTLED_S:
        return sha256_file(path)
    return _sha256_of(os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _sha256_of(path: str, *identity: int) -> str:
    return sha256_file(path)


def describe_files(paths: Iterable[Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 sum of files, by their path in ``folder``: the entry "outputs" of a manifest."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(paths)
    }


def with_digest(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the `fingerprint` of all its entries as "digest"."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return rest | {"digest": fingerprint(rest)}


def _is_ours(document: Mapping[str, Any]) -> bool:
    """Whether a document looks like a manifest or a document of metrics, even if one of its keys was damaged."""
    return len(document.keys() & {"stage", "fingerprint", "inputs", "manifest", "metrics"}) >= 2


def check_digest(document: Any, where: str | os.PathLike) -> None:
    """Raise `InputError` if a document is not the one that was written.

    A manifest and a document of metrics must have a "digest", other documents may.
    """
    if not isinstance(document, dict):
        return
    if "digest" not in document:
        if _is_ours(document):
            raise InputError("it has no digest: it has changed, or another version wrote it", str(where), AGAIN)
    elif document != with_digest(document):
        raise InputError("it has changed since it was written: its digest is another one", str(where), AGAIN)


def add_outputs(folder: Path) -> None:
    """Record all files of a finished folder in its manifest, if it has one; files among "shards" stand there."""
    path = folder / MANIFEST
    if not path.is_file():
        return
    manifest = json.loads(path.read_text(encoding="utf-8"))
    done = {MANIFEST, MARK, *(name for shard in manifest.get("shards", []) for name in shard["sha256"])}
    files = [file for file in folder.rglob("*") if file.is_file() and file.relative_to(folder).as_posix() not in done]
    manifest = with_digest(manifest | {"outputs": describe_files(files, folder)})
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def recorded_outputs(manifest: Mapping[str, Any]) -> dict[str, Recorded]:
    """What a manifest says of the files written with it, by their path from the manifest's folder."""
    files = {name: Recorded(entry["sha256"], entry["bytes"]) for name, entry in manifest.get("outputs", {}).items()}
    for shard in manifest.get("shards", []):
        sizes = shard.get("bytes", {})
        files |= {name: Recorded(digest, sizes.get(name)) for name, digest in shard["sha256"].items()}
    return files


def read_manifest_file(path: Path) -> dict[str, Any] | None:
    """The manifest in a file; None where there is none, or the file is something else.

    Raises
    ------
    InputError
        If it is not the manifest that was written.
    """
    try:
        stat = path.stat()
        if stat.st_size > LARGEST_MANIFEST:
            return None
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if path.name == MANIFEST and (path.parent / MARK).exists():
            raise InputError(f"not a whole manifest ({error})", str(path), AGAIN) from None
        return None
    except OSError:
        return None
    if not isinstance(manifest, dict) or not _is_ours(manifest):
        return None
    check_digest(manifest, path)
    try:
        recorded_outputs(manifest)
        _ = {name: entry["sha256"] for name, entry in manifest.get("inputs", {}).items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"not a whole manifest ({error!r})", str(path), AGAIN) from None
    return manifest


def manifest_beside(path: str | os.PathLike) -> Path:
    """Where the manifest of a single output file is written; `InputError` if that is the file itself."""
    path = Path(path)
    beside = path.with_suffix(".json")
    if beside == path:
        raise InputError("its manifest would be written there", str(path), f"name it {path.with_suffix('.parquet')}")
    return beside


def recorded_output(path: Path) -> Recorded | None:
    """What the manifest beside a file says of it; None where none records it."""
    for beside in (path.parent / MANIFEST, path.with_suffix(".json")):
        if beside != path and (manifest := read_manifest_file(beside)) is not None:
            recorded = recorded_outputs(manifest).get(path.name)
            if recorded is not None:
                return recorded
    return None


def check_size(path: Path, recorded: Recorded) -> None:
    """Raise `InputError` if a file is missing or not of its recorded size."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path), AGAIN) from None
    if recorded.size is not None and size != recorded.size:
        raise InputError(f"it has {size} bytes, but {recorded.size} were written", str(path), AGAIN)


def check_content(path: Path, recorded: Recorded) -> None:
    """Raise `InputError` if a file is missing or not the one that was written."""
    check_size(path, recorded)
    try:
        digest = sha256_once(path)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path), AGAIN) from None
    if digest != recorded.sha256:
        raise InputError("it has changed: its SHA-256 sum is not the manifest's", str(path), AGAIN)


def check_output(path: str | os.PathLike) -> None:
    """Raise `InputError` if a file is recorded in the manifest beside it, and is not the one that was written."""
    path = Path(path)
    if path.is_file() and (recorded := recorded_output(path)) is not None:
        check_content(path, recorded)
