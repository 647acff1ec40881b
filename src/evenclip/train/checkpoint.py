"""The saved state of a training, from which an interrupted training continues.

It lies outside the outputs, because Snakemake deletes the outputs of a rule that fails. `<root>/<fingerprint>/` holds
`identity.json` (everything that decides the final weights) and `state.pt` (how far the training has come). A training
whose identity has changed starts over. It says why, because an identity names its output folder, and an older state
for the same folder is compared and then removed.

A command with several seeds keeps links to the models that it has finished (`FinishedModel`).
"""

import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from evenclip.digests import MANIFEST, check_output, fingerprint
from evenclip.errors import InputError
from evenclip.provenance import atomic_file, atomic_folder, write_json


@contextmanager
def only_training(root: Path, out: Path) -> Iterator[None]:
    """Hold the lock of the output folder ``out``: workers can outlive a `torchrun` that was killed.

    The lock belongs to the operating system, which frees it when the process ends.

    Raises
    ------
    InputError
        Another process trains for the same output folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{fingerprint({'out': str(out.resolve())})}.lock"
    try:
        with filelock.FileLock(path, timeout=0):
            yield
            path.unlink(missing_ok=True)
    except filelock.Timeout:
        hint = "wait for its end, or stop it (`ps` shows its --out); then this command continues"
        raise InputError("another process is training this model", str(out), hint) from None


class SavedState:
    """The saved state of one training.

    Parameters
    ----------
    root : Path
        Folder of all states.
    identity : Mapping
        Everything that decides the final weights, as JSON-able values, and the output folder as ``"out"``.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]):
        self._identity = json.loads(json.dumps(identity))
        self.folder = root / fingerprint(self._identity)
        self._drop_others(root)

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None if there is none, or, with a message, if it cannot be read."""
        path = self.folder / "state.pt"
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
                if changed := archive.testzip():
                    raise ValueError(f"{changed} has changed")
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can make the reader raise anything
            print(f"starting over: {path} is damaged ({error})", file=sys.stderr)
            return None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state; after a kill or on a full disk either the old or the new one is there.

        If the state cannot be written, a message says so and the training goes on.
        """
        try:
            self._describe()
            with atomic_file(self.folder / "state.pt") as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
        except (OSError, RuntimeError, InputError) as error:
            # `atomic_file`, and torch's zip writer when it closes an unwritable file, raise errors of their own
            cause = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            if cause is None:
                raise
            what = f"the state could not be saved in {self.folder} ({cause.strerror})"
            print(
                f"{what}; the training goes on, and if it is interrupted continues from an older one", file=sys.stderr
            )

    def record(self, name: str, value: Any) -> Path:
        """Write JSON beside the state, for people to read; returns its path."""
        self._describe()
        write_json(value, self.folder / name)
        return self.folder / name

    def remove(self) -> None:
        """Remove the state, once the outputs are in place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _describe(self) -> None:
        if not (self.folder / "identity.json").is_file():
            write_json(self._identity, self.folder / "identity.json")

    def _drop_others(self, root: Path) -> None:
        for path in sorted(root.glob("*/identity.json")):
            try:
                other = json.loads(path.read_text(encoding="utf-8"))
                is_ours = other["out"] == self._identity["out"]
            except (OSError, ValueError, KeyError, TypeError):  # damaged, or a training beside this one has just ended
                continue
            if is_ours and path.parent != self.folder:
                changes = "; ".join(_changes(other, self._identity))
                print(f"starting over: {changes} since the interrupted training", file=sys.stderr)
                shutil.rmtree(path.parent)


class FinishedModel:
    """Hard links to the files of a finished run folder, from which the model is taken if it is asked for once more.

    Snakemake removes all outputs of a job before the job runs again: if a study gets one more seed, those of all seeds
    that share its job. The links keep these files, and take no space of their own while the run folder is there.

    Parameters
    ----------
    root : Path
        Folder of all states.
    identity : Mapping
        As for `SavedState`.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]):
        self._identity = json.loads(json.dumps(identity))
        self._out = Path(identity["out"])
        self._folder = root / "finished" / fingerprint({"out": identity["out"]})

    def keep(self) -> None:
        """Keep the run folder's files, in place of an earlier model's."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder.parent) as temporary:
            _link_files(self._out, Path(temporary) / "run")
            write_json(self._identity, Path(temporary) / "identity.json")
            shutil.rmtree(self._folder, ignore_errors=True)
            os.replace(temporary, self._folder)
            os.mkdir(temporary)  # for the context to remove

    def restore(self) -> bool:
        """Write the run folder again, if the same model was kept whole; returns whether it was."""
        run = self._folder / "run"
        try:
            if json.loads((self._folder / "identity.json").read_text(encoding="utf-8")) != self._identity:
                return False
            for path in run.rglob("*"):
                check_output(path)
        except (OSError, ValueError, InputError):  # none was kept, or a file was changed in the run folder
            return False
        with atomic_folder(self._out) as folder:
            _link_files(run, folder)
        return True


def _link_files(source: Path, target: Path) -> None:
    """Put the files of a folder into another one, as hard links where the file system has them."""
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            # a manifest is written once more when its folder is put in place
            if path.name == MANIFEST or not _is_linked(path, copy):
                shutil.copy2(path, copy)


def _is_linked(path: Path, copy: Path) -> bool:
    """Make a hard link; False where the file system has none."""
    try:
        os.link(path, copy)
    except OSError:
        return False
    return True


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, f"{key} ")
        elif before != after:
            yield f"{prefix}{key} changed {before} -> {after}"
