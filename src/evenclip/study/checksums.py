"""Snakemake's checksums of inputs, computed once for each state of a file.

When a job ends, Snakemake reads all its inputs again for each of its outputs (its issue 4240): for a job that embeds
with eight models into forty files, forty times eight models.
"""

import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

Checksum = Callable[..., Awaitable[str | None]]


def remember_checksums(file_class: Any) -> None:
    """Let Snakemake's class of files remember its checksums; a Snakemake that has no such class stays as it is."""
    checksum = getattr(file_class, "checksum", None)
    if checksum is not None and not hasattr(checksum, "remembers"):
        file_class.checksum = once_for_each_state(checksum)


def once_for_each_state(checksum: Checksum) -> Checksum:
    """``checksum(self, ...)``, a method of objects with a path ``file``, which remembers what it gave.

    A file that was written, replaced or given other times since then is read again; one in a storage elsewhere, each
    time.
    """
    known: dict[tuple, str] = {}

    @wraps(checksum)
    async def of_file(self, *arguments, **options) -> str | None:
        stat = None if getattr(self, "is_storage", False) else _stat(self.file)
        if stat is None:
            return await checksum(self, *arguments, **options)
        state = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size
        key = (self.file, state, arguments, *options.items())
        if key not in known:
            found = await checksum(self, *arguments, **options)
            if found is None:  # too large, or not there as far as Snakemake knows now
                return None
            known[key] = found
        return known[key]

    of_file.remembers = True
    return of_file


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
