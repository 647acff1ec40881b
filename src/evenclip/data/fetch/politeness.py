"""Politeness: few connections to one host at a time, requests spaced out, and quiet for as long as a host asks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Hosts:
    """Takes care, across threads, of how each host is treated.

    Parameters
    ----------
    at_once : int
        Turns given for one host at a time.
    delay_s : float
        Least time between the starts of two turns for one host.
    """

    def __init__(self, at_once: int, delay_s: float):
        self._at_once, self._delay_s = at_once, delay_s
        self._guard = threading.Lock()
        self._places: dict[str, threading.Semaphore] = {}
        self._next_start: dict[str, float] = {}

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Wait until the host of ``url`` may be asked; it counts as busy until the block ends."""
        host = _host(url)
        with self._guard:
            places = self._places.setdefault(host, threading.Semaphore(self._at_once))
        with places:
            while (wait := self._wait_s(host)) > 0:
                time.sleep(wait)
            yield

    def hold(self, url: str, seconds: float) -> None:
        """Start no turn for the host of ``url`` for this time."""
        with self._guard:
            until = time.monotonic() + seconds
            self._next_start[_host(url)] = max(until, self._next_start.get(_host(url), 0.0))

    def _wait_s(self, host: str) -> float:
        """How long to wait still; 0 takes the turn."""
        with self._guard:
            now = time.monotonic()
            wait = self._next_start.get(host, 0.0) - now
            if wait <= 0:
                self._next_start[host] = now + self._delay_s
            return max(wait, 0.0)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()
