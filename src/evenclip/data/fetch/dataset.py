"""Fetch a data set of the registry into a folder. Command: `evenclip data fetch NAME [--to DIR] [--accept-terms]`.

Writes the publisher's files as they are, and `fetched.json` with their sizes and checksums. What is there already is
checked, not fetched again; what has to be got by hand is asked for.
"""

import os
import queue
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from evenclip.data.fetch.checksums import Expected, FetchRecord, check_content
from evenclip.data.fetch.download import Download, Part
from evenclip.data.fetch.http import Client
from evenclip.data.fetch.options import FetchOptions
from evenclip.data.fetch.registry import REGISTRY, DatasetEntry, RawFile, read_registry
from evenclip.errors import InputError
from evenclip.progress import track

MB = 10**6


def fetch_dataset(
    name: str,
    to: str | os.PathLike,
    options: FetchOptions,
    accept_terms: bool = False,
    registry: str | os.PathLike = REGISTRY,
) -> None:
    """Bring the files of the data set ``name`` into the folder ``to``.

    Raises
    ------
    InputError
        If the terms are not accepted, the disk has no room, a file cannot be had or is not what it must be, or some
        have to be got by hand. The other files are there all the same; the next call goes on from where this one ended.
    """
    entry = read_registry(registry).entry(name, registry)
    if entry.terms.accept and not accept_terms:
        what = f"{entry.title} has terms. Licence: {entry.terms.licence}. {entry.terms.summary}"
        raise InputError(what, name, f"read {entry.homepage}, then add --accept-terms if you accept them")
    to = Path(to)
    record = FetchRecord(to)
    expected = {file.path: record.expected(file) for file in entry.files}
    present = [file for file in entry.files if (to / file.path).exists()]
    wanted = [file for file in entry.files if file.urls and file not in present]
    problems = [problem for file in present if (problem := _check_present(file, to, expected[file.path], record))]
    _check_room(wanted, to, expected, options)
    if wanted:
        problems += _fetch_all(name, wanted, to, expected, record, options)
    problems += _by_hand(entry, to, present)
    if problems:
        raise InputError("\n  ".join(["not complete", *problems]), name, "see above; then give the same command again")
    print(f"{to}: {len(entry.files)} files of {entry.title}, checked", file=sys.stderr)


def _check_present(file: RawFile, to: Path, expected: Expected, record: FetchRecord) -> str | None:
    sha256, differs = check_content(to / file.path, expected)
    if differs:
        return f"{to / file.path} is not the right file: {'; '.join(differs)}; remove it to fetch it again"
    record.add(file, to / file.path, sha256, None)
    return None


def _check_room(files: list[RawFile], to: Path, expected: dict[str, Expected], options: FetchOptions) -> None:
    """Check the disk space for all files of known size, before the first fetch; each file is checked again."""
    _reserve(sum((expected[file.path].bytes or 0) - Part(to / file.path).size for file in files), to, options)


def _reserve(n_bytes: int, to: Path, options: FetchOptions) -> None:
    existing = next(folder for folder in (to, *to.absolute().parents) if folder.exists())
    room = shutil.disk_usage(existing).free - options.keep_free_gb * 1e9
    if n_bytes > room:
        what = f"{n_bytes / 1e9:.1f} GB are still to be fetched, but there is room for {max(room, 0) / 1e9:.1f} GB"
        raise InputError(what, str(to), "make room, choose another --to, or lower keep_free_gb")


def _fetch_all(
    name: str, files: list[RawFile], to: Path, expected: dict[str, Expected], record: FetchRecord, options: FetchOptions
) -> list[str]:
    """Fetch several files at a time; return what went wrong, each failure with its file."""
    client = Client(options)
    came: queue.Queue[int] = queue.Queue()

    def fetch(file: RawFile) -> str | None:
        download = Download(
            to / file.path, expected[file.path], client, lambda n: _reserve(n, to, options), on_bytes=came.put
        )
        try:
            url, sha256 = download.fetch(file.urls)
        except InputError as error:
            return str(error)
        except OSError as error:
            return f"{to / file.path}: cannot be written ({error.strerror}); make room, or choose another --to"
        if record.add(file, to / file.path, sha256, url) and not expected[file.path].has_checksum:
            print(f"{file.path}: no checksum is known; recorded sha256 {sha256}", file=sys.stderr)
        return None

    with ThreadPoolExecutor(options.at_once) as pool:
        futures = [pool.submit(fetch, file) for file in files]
        try:
            for _ in track(_megabytes(futures, came), f"fetch {name}, MB", _total_mb(files, expected)):
                pass
        except BaseException:
            client.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [problem for future in futures if (problem := future.result()) is not None]


def _megabytes(futures: list[Future], came: queue.Queue[int]) -> Iterator[int]:
    """Yield once for every megabyte that came in, until all files are done."""
    n_bytes = n_shown = 0
    while not (all(future.done() for future in futures) and came.empty()):
        try:
            n_bytes += came.get(timeout=0.1)
        except queue.Empty:
            continue
        while n_shown < n_bytes // MB:
            n_shown += 1
            yield n_shown


def _total_mb(files: list[RawFile], expected: dict[str, Expected]) -> int | None:
    sizes = [expected[file.path].bytes for file in files]
    return None if None in sizes else sum(sizes) // MB


def _by_hand(entry: DatasetEntry, to: Path, present: list[RawFile]) -> list[str]:
    missing = [file.path for file in entry.files if not file.urls and file not in present]
    return [f"put {', '.join(missing)} into {to} by hand: {entry.by_hand}"] if missing else []
