"""Snakemake's checksums of inputs, computed once for each state of a file.

When a job ends, Snakemake reads all its inputs again for each of its outputs (its issue 4240): for a job that embeds
with eight models into forty files, forty times eight models.
"""

import os
from collections.abc import Awaitable, Callable
from functools import wraps

Checksum = Callable[..., Awaitable[str | None]]


def once_for_each_file(checksum: Checksum) -> Checksum:
    """``checksum(self, ...)``, a method of objects with a path ``file``, which remembers its results.

    A file that was written or replaced since then, by its size, time and inode, is read again.
    """
    known: dict[tuple, str | None] = {}

    @wraps(checksum)
    async def of_file(self, *arguments, **options) -> str | None:
        try:
            stat = os.stat(self.file)
        except OSError:
            return await checksum(self, *arguments, **options)
        key = (self.file, stat.st_ino, stat.st_mtime_ns, stat.st_size, arguments, *options.items())
        if key not in known:
            known[key] = await checksum(self, *arguments, **options)
        return known[key]

    return of_file
