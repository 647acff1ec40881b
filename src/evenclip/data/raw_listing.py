"""Whether the raw files of an imported data set have changed since a study imported them.

Snakemake sees only the folder and its time, which changes with a checkout and not with an edit inside. The fingerprint
made here covers what an import reads: the path of each file below the root and its content, through links. So a file
that is edited, even to equal size, moved, renamed or replaced behind a link makes the import run again, and one whose
time alone changes does not.

Contents are hashed once: a cache beside the study (`.cache/raw/`, which may be deleted) keeps the digests by size,
times and inode. Files above `LARGE` bytes are known by size and time instead, for reading archives of many gigabytes
would hold up every plan; only their touching runs the import again.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from evenclip.data.source import walk_files
from evenclip.digests import fingerprint, sha256_file
from evenclip.errors import InputError
from evenclip.provenance import write_json

LARGE = 2**30
CACHE = Path(".cache/raw")
SETTLED_S = 2.0  # a file written less long ago may change again within the resolution of its time


def fingerprint_files(root: str | os.PathLike, cache: Path = CACHE) -> str:
    """Fingerprint of the paths and contents of all files below ``root``, a folder or a file; '' if nothing is there.

    A link whose target is missing, as git-annex, DataLad and DVC leave them, counts with its target's name. A cache
    that cannot be written costs time only.
    """
    root = Path(root)
    if not root.exists():
        return ""
    cached_in = cache / f"{fingerprint(str(root.absolute()))}.json"
    digests = _read_cache(cached_in)
    files: dict[str, Any] = {}
    fresh: dict[str, Any] = {}
    now_ns = time.time_ns()
    for path in walk_files(root):
        name = path.relative_to(root).as_posix()
        try:
            stat = path.stat()
            identity = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
            if stat.st_size > LARGE:
                files[name] = identity[:2]
                continue
            old_identity, digest = digests.get(name, (None, None))
            files[name] = digest if old_identity == identity else sha256_file(path)
        except OSError as error:
            files[name] = f"{error.strerror}: {os.readlink(path) if path.is_symlink() else ''}"
            continue
        if now_ns - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_S * 1e9:
            fresh[name] = [identity, files[name]]
    if fresh != digests:
        _write_cache(fresh, cached_in)
    return fingerprint(files) if files else ""


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: entry for name, entry in entries.items() if isinstance(entry, list) and len(entry) == 2}
    except (OSError, ValueError, AttributeError):
        return {}


def _write_cache(entries: dict[str, Any], path: Path) -> None:
    with contextlib.suppress(OSError, InputError):  # a read-only checkout: hashed again next time
        write_json(entries, path)
