"""HTTP client for data sets: few connections per host, redirects checked, each failure given a reason."""

import random
import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import urllib3

from evenclip import __version__
from evenclip.data.fetch.options import HttpOptions


class Hosts:
    """Limits, across threads, on the requests to each host.

    Parameters
    ----------
    at_once : int
        Largest number of turns for one host at a time.
    delay_s : float
        Least time between the starts of two turns for one host.
    """

    def __init__(self, at_once: int, delay_s: float):
        self._at_once, self._delay_s = at_once, delay_s
        self._guard = threading.Lock()
        self._semaphores: dict[str, threading.Semaphore] = {}
        self._next_start: dict[str, float] = {}

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Wait until the host of ``url`` may be asked; it counts as busy until the block ends."""
        host = _host(url)
        with self._guard:
            semaphore = self._semaphores.setdefault(host, threading.Semaphore(self._at_once))
        with semaphore:
            while (wait := self._wait_s(host)) > 0:
                time.sleep(wait)
            yield

    def hold(self, url: str, seconds: float) -> None:
        """Send no request to the host of ``url`` for this time."""
        with self._guard:
            until = time.monotonic() + seconds
            self._next_start[_host(url)] = max(until, self._next_start.get(_host(url), 0.0))

    def _wait_s(self, host: str) -> float:
        """Remaining waiting time; 0 = the turn is taken."""
        with self._guard:
            now = time.monotonic()
            wait = self._next_start.get(host, 0.0) - now
            if wait <= 0:
                self._next_start[host] = now + self._delay_s
            return max(wait, 0.0)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


CHUNK = 2**18
MAX_REDIRECTS = 8
POOLS = 256  # hosts to which connections are kept open
SLOWEST_BYTES_S = 1024
REDIRECTS = (301, 302, 303, 307, 308)
# identity: lengths, ranges and checksums are those of the file, not of a compressed transfer
HEADERS = {"User-Agent": f"evenclip/{__version__} (data set fetcher)", "Accept-Encoding": "identity"}
READ_ERRORS = (urllib3.exceptions.HTTPError, OSError)


class FetchError(Exception):
    """A failed request.

    ``reason`` is one of a few fixed words, to be counted. ``transient``: a second try may succeed. ``wait_s``: the
    server's Retry-After, in seconds.
    """

    def __init__(self, reason: str, detail: str, *, transient: bool = False, wait_s: float = 0.0):
        self.reason, self.detail, self.transient, self.wait_s = reason, detail, transient, wait_s
        super().__init__(f"{reason}: {detail}")


class Client:
    """HTTP client that keeps to `HttpOptions`; may be used from several threads."""

    def __init__(self, options: HttpOptions):
        self.options = options
        self._hosts = Hosts(options.per_host, options.host_delay_s)
        self._stopped = threading.Event()
        self._timeout = urllib3.Timeout(connect=options.connect_timeout_s, read=options.read_timeout_s)
        pools = {"num_pools": POOLS, "maxsize": options.per_host, "headers": HEADERS}
        self._direct = urllib3.PoolManager(**pools)
        proxies = urllib.request.getproxies()  # http_proxy, https_proxy, no_proxy, as every tool reads them
        self._proxies = {
            scheme: urllib3.ProxyManager(proxies[scheme], **pools) for scheme in ("http", "https") if scheme in proxies
        }

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[urllib3.BaseHTTPResponse]:
        """Yield the answer (status 200 or 206) to a GET of ``url``, its body unread; raise `FetchError` otherwise."""
        _check_address(url)
        self._check_stopped()
        with self._hosts.turn(url), self._follow(url, dict(headers or {})) as response:
            try:
                _check_status(response)
            except FetchError as error:
                if error.wait_s:
                    self._hosts.hold(url, min(error.wait_s, self.options.longest_wait_s))
                raise
            yield response

    def body(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """Yield the body as it comes in; raise `FetchError` if it is cut off, or stalls."""
        received = received_before = 0
        since = time.monotonic()
        while True:
            try:
                chunk = response.read1(CHUNK, decode_content=False)
            except READ_ERRORS as error:
                raise _as_fetch_error(error, f"after {received} bytes") from None
            if not chunk:  # the end, and at the announced length: urllib3 sees to that
                return
            received += len(chunk)
            self._check_stopped()
            yield chunk
            passed = time.monotonic() - since
            if passed > self.options.read_timeout_s:
                if received - received_before < SLOWEST_BYTES_S * passed:
                    raise FetchError("timeout", f"slower than {SLOWEST_BYTES_S} bytes/s", transient=True)
                since, received_before = time.monotonic(), received

    def pause(self, failures: int) -> None:
        """Wait before the next try after ``failures`` in a row; the random half keeps clients out of step."""
        longest = min(self.options.backoff_s * 2 ** (failures - 1), self.options.longest_wait_s)
        self._stopped.wait(longest * random.uniform(0.5, 1))
        self._check_stopped()

    def stop(self) -> None:
        """End the requests of all threads with a `FetchError`, soon."""
        self._stopped.set()

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise FetchError("stopped", "interrupted")

    def _follow(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The first answer that is no redirect; bodies of redirects, which may be endless, are not read."""
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = self._manager(url).request(
                    "GET", url, headers=HEADERS | headers, timeout=self._timeout, retries=False, redirect=False,
                    preload_content=False, decode_content=False,
                )  # fmt: skip
            except (*READ_ERRORS, ValueError) as error:
                raise _as_fetch_error(error, "at the start") from None
            if response.status not in REDIRECTS:
                return response
            response.close()
            url = _check_address(response.headers.get("Location", ""), url)
        raise FetchError("redirects", f"more than {MAX_REDIRECTS}")

    def _manager(self, url: str) -> urllib3.PoolManager:
        split = urlsplit(url)
        proxy = self._proxies.get(split.scheme)
        return self._direct if proxy is None or urllib.request.proxy_bypass(split.hostname) else proxy


def content_length(response: urllib3.BaseHTTPResponse) -> int | None:
    """How many bytes the body is announced to have, None if the answer does not say."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _check_address(url: str, base: str = "") -> str:
    """The address, taken from ``base`` where it is relative; `FetchError` unless it is a web address."""
    try:
        url = urljoin(base, url)
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname:
            return url
    except ValueError:
        pass
    raise FetchError(
        "bad_url", "not a web address" if not base else "redirected to something that is not a web address"
    )


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    status = response.status
    status_text = f"status {status}"
    if status in (200, 206):
        return
    if status in (404, 410):
        raise FetchError("not_found", status_text)
    if status in (401, 403, 451):
        raise FetchError("forbidden", status_text)
    if status == 416:
        raise FetchError("bad_range", status_text, transient=True)
    if status in (408, 425, 429) or status >= 500:
        raise FetchError(
            "busy", status_text, transient=True, wait_s=_retry_after_s(response.headers.get("Retry-After", ""))
        )
    raise FetchError("http_error", status_text)


def _retry_after_s(text: str) -> float:
    """Seconds of a Retry-After header, which has them or a date; 0 if it has neither."""
    try:
        return urllib3.Retry().parse_retry_after(text)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return 0.0


def _as_fetch_error(error: Exception, when: str) -> FetchError:
    if isinstance(error, urllib3.exceptions.SSLError):
        return FetchError("tls", f"the certificate or the encryption is invalid, {when}")
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return FetchError("no_such_host", "the host's name is not known", transient=True)
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # which urllib3 counts among the timeouts
        return FetchError("connection", "no server answers there", transient=True)
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return FetchError("timeout", f"no answer, {when}", transient=True)
    if isinstance(error, ValueError):  # so are all of urllib3's errors about addresses
        return FetchError("bad_url", "not a web address")
    return FetchError("connection", f"{type(error).__name__}, {when}", transient=True)
