"""Progress of long work on standard error: a bar on a terminal, else a line from time to time.

Under torchrun all processes do the same work, so only the first shows its progress.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
LINE_EVERY_S = 30.0


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items`` unchanged and show progress.

    Parameters
    ----------
    items : Iterable
        The work.
    description : str
        A few words, e.g. ``"import flickr8k"``.
    total : int, optional
        Number of items; by default ``len(items)`` if it is known.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if os.environ.get("RANK", "0") != "0":
        yield from items
        return
    show = _bar if sys.stderr.isatty() else _lines
    yield from show(items, description, total)


def _bar(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=description)


def _lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    """At most one line every `LINE_EVERY_S` seconds, and one at the end, so that logs stay short."""
    start = printed = time.monotonic()
    n, of = 0, f" of {total}" if total is not None else ""
    for n, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            printed = now
            print(f"{description}: {n}{of}, {n / (now - start):.1f}/s", file=sys.stderr, flush=True)
    seconds = time.monotonic() - start
    print(f"{description}: {n} done in {seconds:.1f} s", file=sys.stderr, flush=True)
