"""Check a folder of raw files against the registry. Command: `evenclip data verify NAME --root DIR`.

Sizes and checksums of the publisher's files, and the counts that a whole data set has. A checksum that nobody states is
recorded in `fetched.json` the first time, so that the next check can tell whether the file has changed since.
"""

import gzip
import os
from fnmatch import fnmatchcase
from pathlib import Path

from evenclip.data.fetch.checksums import FetchRecord, check_content
from evenclip.data.fetch.registry import REGISTRY, Count, RawFile, read_registry
from evenclip.data.source import File, Source
from evenclip.errors import InputError
from evenclip.progress import track


def verify_raw(name: str, root: str | os.PathLike, registry: str | os.PathLike = REGISTRY) -> str:
    """Check the files of the data set ``name`` in ``root``; return what was counted, in a line.

    Raises
    ------
    InputError
        Naming every file that is missing or differs, and every count that does not come out.
    """
    entry = read_registry(registry).entry(name, registry)
    root = Path(root)
    record = FetchRecord(root)
    problems, recorded = [], []
    for file in track(entry.files, f"verify {root}"):
        problem, is_new = _check_file(file, root, record)
        problems += problem
        recorded += [file.path] if is_new else []
    if problems:
        hint = f"get it: {entry.by_hand}" if entry.by_hand else f"evenclip data fetch {name} --to {root}"
        raise InputError("; ".join(problems), str(root), hint)
    counted = _check_counts(entry.counts, root)
    first = f"; first seen, now recorded: {', '.join(recorded)}" if recorded else ""
    return f"{len(entry.files)} files as they must be{''.join(f', {text}' for text in counted)}{first}"


def _check_file(file: RawFile, root: Path, record: FetchRecord) -> tuple[list[str], bool]:
    """What is wrong with one file, and whether it is new on record."""
    path = root / file.path
    if not path.is_file():
        return [f"{file.path} is missing"], False
    expected = record.expected(file)
    sha256, differs = check_content(path, expected)
    if differs:
        return [f"{file.path} has {'; '.join(differs)}"], False
    return [], record.add(file, path, sha256, None) and not expected.has_checksum


def _check_counts(counts: dict[str, Count], root: Path) -> list[str]:
    """Each count that can be made in raw files, as text; `InputError` if one differs."""
    countable = {what: count for what, count in counts.items() if count.files}
    if not countable:
        return []
    with Source(root) as source:
        files = source.files()
        counted = {what: _count(source, files, count) for what, count in countable.items()}
    wrong = [
        f"{counted[what]} {what} instead of {count.n}" for what, count in countable.items() if counted[what] != count.n
    ]
    if wrong:
        raise InputError("; ".join(wrong), str(root), "the files are of another version, or incomplete")
    return [f"{n} {what}" for what, n in counted.items()]


def _count(source: Source, files: list[File], count: Count) -> int:
    matching = [file for file in files if fnmatchcase(file.name, count.files)]
    return sum(_lines(source, file) for file in matching) if count.lines else len(matching)


def _lines(source: Source, file: File) -> int:
    """Lines of a text, also in an archive or a .gz; the last counts without its end too."""
    if file.member is not None:
        return len(source.read(file).splitlines())
    with gzip.open(file.path) if file.name.endswith(".gz") else file.path.open("rb") as content:
        return sum(1 for _ in content)
