"""How an output was made: manifests, and writes that appear whole or not at all."""

import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from evenclip.digests import (
    MANIFEST,
    MARK,
    add_outputs,
    check_digest,
    check_output,
    describe_files,
    fingerprint,
    sha256_once,
    with_digest,
)
from evenclip.errors import InputError

RECORDED_PACKAGES = (
    "evenclip", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "torch", "torchvision", "open_clip_torch",
    "torch-geometric", "safetensors", "pillow", "mlflow", "snakemake", "dvc",
)  # fmt: skip


_CANNOT_WRITE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG,
    errno.ESTALE,
}  # fmt: skip
_NO_SUCH_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
_CANNOT_WRITE_TEXT = re.compile("|".join(os.strerror(number) for number in sorted(_CANNOT_WRITE)))


def writing_error(error: Exception, path: str | os.PathLike | None = None) -> InputError | None:
    """What an error of the file system means to the user; None if it is another fault.

    Parameters
    ----------
    error : Exception
        An `OSError`, or what a library made of one, such as safetensors' error with the system's message in it.
    path : path, optional
        What was being written; then a folder that has vanished or is a file is the user's matter too.
    """
    hint = "make room, or name a place that can be written"
    if isinstance(error, OSError):
        target = str(error.filename or path or "output")
        ours = path is not None and Path(target).absolute().is_relative_to(Path(path).absolute().parent)
        if error.errno in _CANNOT_WRITE or (ours and error.errno in _NO_SUCH_PLACE):
            return InputError(f"cannot be read or written ({os.strerror(error.errno)})", str(path or target), hint)
    elif message := _CANNOT_WRITE_TEXT.search(str(error)):
        return InputError(f"cannot be read or written ({message[0]})", str(path or "output"), hint)
    return None


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn errors of the file system while ``path`` is written into `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (message := writing_error(error, path)) is None:
            raise
        raise message from None


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there if the block ends well, else remove it.

    Raises
    ------
    InputError
        If there is no room, or ``path`` cannot be written.
    """
    path = Path(path)
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; put it in ``path``'s place if the block ends well, else remove it.

    Raises
    ------
    InputError
        If there is a folder at ``path`` with files that this function did not put there, or the output of another
        stage, which would be replaced; if there is no room, or ``path`` cannot be written.
    """
    path = Path(path)
    with _one_line(path):
        check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(path):
            _clear_interrupted(path)
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=".tmp"))
            try:
                yield temporary
                add_outputs(temporary)
                check_replaceable(path, _stage_of(temporary) or "another stage")
                os.chmod(temporary, 0o777 & ~_umask())
                (temporary / MARK).touch()
                if path.exists():
                    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=".old"))
                    os.replace(path, old / path.name)
                    os.replace(temporary, path)
                    shutil.rmtree(old)
                else:
                    os.replace(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path, stage: str | None = None) -> None:
    """Raise `InputError` if an output folder would replace what is not ours, or, given a ``stage``, another stage's."""
    if path.exists() and not (path / MARK).exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError("would be replaced, but was not made by evenclip", str(path), "name a new folder for --out")
    if stage is not None and _stage_of(path) not in (None, stage):
        what = f"the output of stage '{_stage_of(path)}' would be replaced by that of {stage}"
        raise InputError(what, str(path), "name a new folder for --out")


def _stage_of(folder: Path) -> str | None:
    """The stage that wrote a folder; None where no readable manifest says so."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("stage")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


@contextmanager
def only_writer(path: str | os.PathLike) -> Iterator[None]:
    """Hold the lock of an output, which the operating system frees when the process ends, however it ends.

    Raises
    ------
    InputError
        Another command is writing this output.
    """
    path = Path(path)
    lock = path.parent / f"{_prefix(path)}lock"
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock, path)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(handle)


def _locked(lock: Path, path: Path) -> int:
    """The handle of the lock file, once it is ours."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            what = "another command is writing it"
            raise InputError(what, str(path), "wait for its end, or stop it; then run this again") from None
        except OSError:  # a file system without locks
            pass
        try:
            if os.fstat(handle).st_ino == os.stat(lock).st_ino:
                return handle
        except FileNotFoundError:  # its last owner has removed it since it was opened
            pass
        os.close(handle)


def _prefix(path: Path) -> str:
    """How the names of temporary files beside an output begin, short enough for any file system."""
    name = path.name if len(path.name.encode()) <= 80 else f"{path.name[:16]}-{fingerprint(path.name)}"
    return f".{name}."


def _clear_interrupted(path: Path) -> None:
    """Remove what killed writers of ``path`` have left beside it, and put back an old output that they had moved."""
    pattern = re.compile(re.escape(_prefix(path)) + r"[a-z0-9_]{8}\.(tmp|old)")
    for left in sorted(path.parent.iterdir()):
        if pattern.fullmatch(left.name) and left.is_dir():
            if left.suffix == ".old" and (left / path.name).exists() and not path.exists():
                os.replace(left / path.name, path)
            shutil.rmtree(left, ignore_errors=True)


def write_json(value: Any, path: str | os.PathLike) -> None:
    """Write JSON (sorted keys, no NaN) whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


class Manifest:
    """Collects how one output is made; create it when the work starts, `write` it when it is done.

    Parameters
    ----------
    stage : str
        Name of the rule and of the config block.
    options : Mapping
        The stage's config block, as JSON-able values.
    inputs : Mapping of str to path
        Files read; a folder written by a stage stands for its own manifest.
    seed : int, optional
    """

    def __init__(self, stage: str, options: Mapping, inputs: Mapping[str, str | os.PathLike], seed: int | None = None):
        self.stage, self.options, self.seed = stage, dict(options), seed
        self.started = time.time()
        self.inputs = {name: {"path": str(path), "sha256": input_digest(path)} for name, path in inputs.items()}

    @property
    def fingerprint(self) -> str:
        """Identity of the work: stage, options, seed and the content of the inputs; not paths, times or machine."""
        contents = {name: entry["sha256"] for name, entry in self.inputs.items()}
        return fingerprint([self.stage, self.options, self.seed, contents])

    def as_dict(self, **extra: Any) -> dict[str, Any]:
        """How the output was made, up to now; ``extra`` holds what only this stage knows (counts, device, ...)."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "options": self.options,
            "seed": self.seed,
            "inputs": self.inputs,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "git": git_state(),
            "packages": package_versions(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "started": _iso(self.started),
            "ended": _iso(time.time()),
            "seconds": round(time.time() - self.started, 3),
            **extra,
        }

    def write(self, path: str | os.PathLike, outputs: Iterable[Path] = (), **extra: Any) -> None:
        """Write `as_dict` as JSON to ``path``, with the size and SHA-256 sum of the ``outputs`` beside it.

        In a folder, `atomic_folder` adds those of all its files.
        """
        described = {"outputs": files} if (files := describe_files(outputs, Path(path).parent)) else {}
        write_json(with_digest(self.as_dict(**described, **extra)), path)

    def write_metrics(self, metrics: list[dict[str, Any]], path: str | os.PathLike, **extra: Any) -> dict[str, Any]:
        """Write metrics with this manifest as one JSON document, with its digest; return it."""
        document = with_digest({"manifest": self.as_dict(**extra), "metrics": metrics})
        write_json(document, path)
        return document


def input_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file; for a folder written by a stage, the ``content`` digest (or fingerprint) in its manifest.

    Raises
    ------
    InputError
        There is no such file, or it is not the one that a stage wrote there.
    """
    path = Path(path)
    try:
        if path.is_dir():
            recorded = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            check_digest(recorded, path / MANIFEST)
            return recorded.get("content") or recorded["fingerprint"]
        check_output(path)
        return sha256_once(path)
    except FileNotFoundError as error:
        raise InputError("no such file", error.filename, "check the path, or run the stage that writes it") from None
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"not a whole manifest ({error})", str(path / MANIFEST), "make the folder again") from None


@cache
def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that this package runs from; both None where it runs from none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", Path(__file__).parent, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    try:
        git("ls-files", "--error-unmatch", "provenance.py")  # installed below somebody's repository is not in it
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain", "-uno").strip())}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a result, where installed."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    try:  # Linux's getrusage would include the memory of the parent process before it started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
