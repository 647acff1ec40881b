"""Compare what lies in a folder with what the manifests, study.json and dvc.lock say was written.

Command: `evenclip verify PATH`. PATH is a file, a data folder, a stage's output folder, a study (`results/<study>`), or
a checkout with `dvc.lock`. Checked are

- every manifest: that it is the one that was written ("digest");
- every file that a manifest records: that it is there and has its size and SHA-256 sum; and that no other file lies in
  a folder that a stage wrote;
- the inputs of every manifest that lie where they lay: that they are still those that the stage has read;
- a study's `study.json`: the files that `evenclip summarize` read and wrote; and the report's figures;
- every output in a `dvc.lock`: its MD5 sum and size, as DVC computes them.

Nothing is repaired, and no cache or time of a file is believed.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evenclip.digests import (
    MANIFEST,
    MARK,
    Recorded,
    check_content,
    check_digest,
    check_size,
    read_manifest_file,
    recorded_outputs,
)
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.provenance import input_digest

DVC_LOCK = "dvc.lock"
RAW_FILES = "source"
"""Input of an import, whose sum is of the files that were read, in their order: only another import gives it."""
MOST_NAMED = 20
"""Differences that are named one by one."""


@dataclass
class Verification:
    """What a check has found: files and manifests that were compared, and what differs."""

    n_files: int = 0
    n_manifests: int = 0
    n_inputs: int = 0
    n_absent_inputs: int = 0
    n_raw_inputs: int = 0
    differences: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """What was compared, in one line."""
        inputs = f"{self.n_inputs} inputs as they were read"
        if self.n_absent_inputs:
            inputs += f" ({self.n_absent_inputs} are not here)"
        if self.n_raw_inputs:
            inputs += f", raw files of {self.n_raw_inputs} imports not compared"
        return f"{self.n_files} files as they were written, by {self.n_manifests} manifests; {inputs}"


def verify(path: Path, fast: bool = False) -> Verification:
    """Compare everything at or below ``path`` with what is recorded of it.

    Parameters
    ----------
    path : Path
    fast : bool
        Compare sizes alone, not digests. Inputs are then not compared, nor is what DVC records of folders.

    Raises
    ------
    InputError
        Naming what differs; or nothing is recorded of ``path``.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", str(path), "give a data folder, a study or a checkout")
    verification = Verification()
    for check in track(list(_checks(path)), f"verify {path}"):
        check(verification, fast)
    if not verification.n_manifests:
        raise InputError("no manifest in it or beside it", str(path), "give what an evenclip command has written")
    if verification.differences:
        named = verification.differences[:MOST_NAMED]
        more = len(verification.differences) - len(named)
        lines = "".join(f"\n  {difference}" for difference in [*named, *([f"and {more} more"] if more else [])])
        what = f"{len(verification.differences)} differ from what was written:{lines}"
        raise InputError(what, str(path), "restore them, or run the stages that write them again")
    return verification


def _checks(path: Path) -> Iterator[Any]:
    """The checks of what lies at or below ``path``, as functions of a `Verification` and ``fast``."""
    if path.is_file():
        for beside in (path.parent / MANIFEST, path.with_suffix(".json")):
            if beside != path and path.name in recorded_outputs(read_manifest_file(beside) or {}):
                yield _ManifestCheck(beside, only=path.name)
                return
    for file in [path] if path.is_file() else _json_files(path):
        if file.name == "study.json":
            yield _StudyCheck(file)
        elif file.name == "figures.json" and file.parent.name == "figures":
            yield _FiguresCheck(file)
        else:
            yield _ManifestCheck(file)
    for lock in _dvc_locks(path):
        yield _DvcCheck(lock, path)


def _json_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".json") and not name.startswith("."))


@dataclass
class _ManifestCheck:
    """A manifest, the files that it records, and its inputs; or a document of metrics with its manifest."""

    path: Path
    only: str | None = None

    def __call__(self, verification: Verification, fast: bool) -> None:
        try:
            document = _read_json(self.path)
        except InputError as error:
            if self.path.name == MANIFEST:
                verification.differences.append(_line(error))
            return
        if not isinstance(document, dict):
            return
        manifest = document.get("manifest", document)
        if not isinstance(manifest, dict) or "stage" not in manifest or "inputs" not in manifest:
            return
        verification.n_manifests += 1
        try:
            check_digest(document, self.path)
            files = recorded_outputs(manifest)
            inputs = {name: (entry["path"], entry["sha256"]) for name, entry in manifest["inputs"].items()}
            if manifest["stage"] == "data" and inputs.pop(RAW_FILES, None):
                verification.n_raw_inputs += 1
        except InputError as error:
            verification.differences.append(_line(error))
            return
        except (KeyError, TypeError, AttributeError) as error:
            verification.differences.append(f"{self.path}: not a whole manifest ({error})")
            return
        verification.n_files += manifest is not document  # metrics are compared by the document's digest
        for name, recorded in files.items():
            if self.only in (None, name):
                _compare(self.path.parent / name, recorded, verification, fast)
        if self.only is None:
            if self.path.name == MANIFEST and (self.path.parent / MARK).exists():
                self._find_strangers(files, verification)
            if not fast:
                self._compare_inputs(inputs, verification)

    def _find_strangers(self, files: dict[str, Recorded], verification: Verification) -> None:
        """Files that nobody recorded, in a folder whose manifest records all of them."""
        folder = self.path.parent
        if not files:
            return
        present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        for name in sorted(present - {MANIFEST, MARK} - files.keys()):
            verification.differences.append(f"{folder / name}: not in the manifest")

    def _compare_inputs(self, inputs: dict[str, tuple[str, str]], verification: Verification) -> None:
        for name, (recorded_path, digest) in inputs.items():
            path = Path(recorded_path)
            if not path.exists():
                verification.n_absent_inputs += 1
                continue
            verification.n_inputs += 1
            try:
                same = input_digest(path) == digest
            except InputError as error:
                verification.differences.append(_line(error))
                continue
            if not same:
                verification.differences.append(f"{self.path}: its input {name}, {path}, has changed since it was read")


@dataclass
class _StudyCheck:
    """study.json, and the files that `evenclip summarize` read and wrote."""

    path: Path

    def __call__(self, verification: Verification, fast: bool) -> None:
        from evenclip.stage_outputs import study_fingerprint

        try:
            document = _read_json(self.path)
            if not isinstance(document, dict) or not {"study", "files", "fingerprint"} <= document.keys():
                return
            verification.n_manifests += 1
            if document["fingerprint"] != study_fingerprint(document):
                raise InputError("it has changed since it was written", str(self.path))
            for name, digest in document["files"].items():
                _compare(self.path.parent / name, Recorded(digest), verification, fast)
        except InputError as error:
            verification.differences.append(_line(error))


@dataclass
class _FiguresCheck:
    """The figures and the page of `evenclip report`."""

    path: Path

    def __call__(self, verification: Verification, fast: bool) -> None:
        try:
            listed = _read_json(self.path)
            check_digest(listed, self.path)
        except InputError as error:
            verification.differences.append(_line(error))
            return
        if not isinstance(listed, dict) or not {"page", "figures"} <= listed.keys():
            return
        verification.n_manifests += 1
        folder = self.path.parent
        files = {folder.parent / "report.html": listed["page"]}
        files |= {folder / name: digest for name, digest in listed["figures"].items()}
        for path, digest in files.items():
            _compare(path, Recorded(digest), verification, fast)


@dataclass
class _DvcCheck:
    """The outputs in a dvc.lock that lie at, below or around ``path``."""

    lock: Path
    path: Path

    def __call__(self, verification: Verification, fast: bool) -> None:
        verification.n_manifests += 1
        try:
            stages = yaml.safe_load(self.lock.read_text(encoding="utf-8"))["stages"]
            outs = [out for stage in stages.values() for out in stage.get("outs", [])]
            outs = [(out["path"], out["md5"], out.get("size")) for out in outs]
        except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError, RecursionError) as error:
            verification.differences.append(f"{self.lock}: not a whole dvc.lock ({error})")
            return
        wanted = self.path.resolve()
        for name, md5, size in outs:
            path = self.lock.parent / name
            output = path.resolve()
            if output.is_relative_to(wanted) or wanted.is_relative_to(output):
                self._compare(path, md5, size, verification, fast)

    def _compare(self, path: Path, md5: str, size: int | None, verification: Verification, fast: bool) -> None:
        if not path.exists():
            verification.differences.append(f"{path}: not here, but in {self.lock} (`dvc pull` fetches it)")
            return
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        verification.n_files += len(files)
        total = sum(file.stat().st_size for file in files)
        if size is not None and total != size:
            verification.differences.append(f"{path}: {total} bytes, but {size} in {self.lock}")
        elif not fast and dvc_md5(path) != md5:
            verification.differences.append(f"{path}: its MD5 sum is not that in {self.lock}")


def dvc_md5(path: Path) -> str:
    """The MD5 sum that DVC 3 records: of a file, its own; of a folder, that of the list of its files' sums."""
    if path.is_file():
        return _md5(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    entries = [{"md5": _md5(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _dvc_locks(path: Path) -> list[Path]:
    """dvc.lock in ``path``, or in the folder above it that DVC calls the root of the project."""
    if path.is_dir() and (path / DVC_LOCK).is_file():
        return [path / DVC_LOCK]
    for folder in path.resolve().parents:
        if (folder / ".dvc").is_dir():
            return [folder / DVC_LOCK] if (folder / DVC_LOCK).is_file() else []
    return []


def _compare(path: Path, recorded: Recorded, verification: Verification, fast: bool) -> None:
    verification.n_files += 1
    try:
        (check_size if fast else check_content)(path, recorded)
    except InputError as error:
        verification.differences.append(_line(error))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", str(path)) from None


def _line(error: InputError) -> str:
    return f"{error.where}: {error.what}"
