"""The saved state of a training, from which an interrupted training continues.

It lies outside the outputs, because Snakemake deletes the outputs of a rule that fails. `<root>/<fingerprint>/` holds
`identity.json` (everything that decides the final weights) and `state.pt` (how far the training has come). A training
whose identity has changed starts over. It says why, because an identity names its output folder, and an older state
for the same folder is compared and then removed.
"""

import json
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from evenclip.digests import fingerprint
from evenclip.errors import InputError
from evenclip.provenance import atomic_file, write_json


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


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, f"{key} ")
        elif before != after:
            yield f"{prefix}{key} changed {before} -> {after}"
