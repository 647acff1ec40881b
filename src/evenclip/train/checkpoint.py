"""What an interrupted training continues from, outside the outputs: Snakemake deletes the outputs of a failed rule.

`<root>/<fingerprint>/` holds `identity.json` (all that decides the final weights) and `state.pt` (where the training
is). A training whose identity has changed starts over; so that it can say why, and so that nothing piles up, every
identity names its output folder, and an older state for the same folder is compared and removed.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from evenclip.errors import InputError
from evenclip.provenance import atomic_file, fingerprint, write_json


@contextmanager
def only_training(root: Path, out: Path) -> Iterator[None]:
    """Nobody else trains for the output folder ``out`` meanwhile: workers can outlive a `torchrun` that was killed.

    The lock is the operating system's, so it goes with the process that holds it.

    Raises
    ------
    InputError
        Another process does.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{fingerprint({'out': str(out.resolve())})}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError  # it ended, and another began, between our opening the file and locking it
        except BlockingIOError:
            holder = "wait for its end, or stop it (`ps` shows its --out); then this command continues"
            raise InputError("another process is training this model", str(out), holder) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class SavedState:
    """The saved state of one training.

    Parameters
    ----------
    root : Path
        Folder of all states.
    identity : Mapping
        All that decides the final weights, as JSON-able values, and the output folder as ``"out"``.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]):
        self._identity = json.loads(json.dumps(identity))
        self.folder = root / fingerprint(self._identity)
        self._drop_others(root)

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None if there is none, or if it cannot be read (then it says so)."""
        path = self.folder / "state.pt"
        if not path.is_file():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes the reader raise
            print(f"starting over: {path} is damaged ({error})", file=sys.stderr)
            return None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state; a kill at any moment, or a full disk, leaves the old one or the new one.

        A state that cannot be written is no reason to stop: it says so, and the training goes on.
        """
        try:
            self._describe()
            with atomic_file(self.folder / "state.pt") as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as error:
            # torch's zip writer, closing a file that could not be written, hides why behind an error of its own
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            what = f"the state could not be saved in {self.folder} ({cause.strerror})"
            print(
                f"{what}; the training goes on, and if it is interrupted continues from an older one", file=sys.stderr
            )

    def record(self, name: str, value: Any) -> Path:
        """Write JSON beside the state, for a person to read; returns its path."""
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
            except FileNotFoundError:  # a training beside this one has just ended
                continue
            if other["out"] == self._identity["out"] and path.parent != self.folder:
                changes = "; ".join(_changes(other, self._identity))
                print(f"starting over: {changes} since the interrupted training", file=sys.stderr)
                shutil.rmtree(path.parent)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, f"{key} ")
        elif before != after:
            yield f"{prefix}{key} changed {before} -> {after}"
