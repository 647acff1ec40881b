"""Map a function over items in threads: results in the order of the items, a bounded number of them ahead.

For work that releases the interpreter's lock (decoding images, waiting for servers, Arrow's kernels).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int,
    on_abort: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in the order of ``items``.

    Items are taken from ``items`` in the consumer's thread. The threads have ended when the iterator is exhausted,
    closed or has raised.

    Parameters
    ----------
    function : callable
        Called in the threads; the first exception, in the order of the items, is raised to the consumer.
    workers : int
        Number of threads.
    ahead : int
        Largest number of items, at least 1, that are taken and whose results have not been yielded; it bounds the
        memory.
    on_abort : callable, optional
        Called where the consumer stops early or anything fails, before the calls that still run are waited for: what
        makes them end soon.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BaseException:
        if on_abort is not None:
            on_abort()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
