"""A web server on the loopback address that does all that servers do wrong; for tests of fetching only.

The first part of a path says how it behaves, the rest which file it serves: `/resets/data.bin`. Every behaviour is
bounded: no answer takes longer than `SLEEP_S`.
"""

import re
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

SLEEP_S = 0.5


class HostileServer(ThreadingHTTPServer):
    """Serves ``files`` by name; ``asked`` has (path, Range header or None) of every request."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked: list[tuple[str, str | None]] = []
        self.tries: Counter[str] = Counter()
        self.sent = 0
        self.busy = self.busiest = 0
        self.stopped = threading.Event()
        self.guard = threading.Lock()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are what this server is for."""


class Handler(BaseHTTPRequestHandler):
    """Dispatches to the method named as the first part of the path."""

    protocol_version = "HTTP/1.1"
    server: HostileServer

    def do_GET(self) -> None:
        self.path = urlsplit(self.path).path  # a proxy is asked for whole addresses
        behaviour, _, self.name = self.path.strip("/").partition("/")
        with self.server.guard:
            self.server.asked.append((self.path, self.headers.get("Range")))
            self.server.tries[self.path] += 1
            self.attempt = self.server.tries[self.path]
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
        try:
            self.content = self.server.files.get(self.name, b"")
            getattr(self, behaviour)()
        finally:
            with self.server.guard:
                self.server.busy -= 1

    def log_message(self, *arguments) -> None:
        pass

    # what the behaviours are made of

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.flush()

    def body(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()
        self.server.sent += len(content)

    def start(self, content: bytes, etag: str | None = '"one"', ranges: bool = True) -> bytes:
        """Send the head an honest server sends, and return the body that belongs to it."""
        match = re.match(r"bytes=(\d+)-$", self.headers.get("Range", "")) if ranges else None
        tag = {"ETag": etag} if etag else {}
        if not match or self.headers.get("If-Range", etag) != etag:
            self.head(200, len(content), **tag)
            return content
        offset = int(match[1])
        if offset >= len(content):
            self.head(416, 0, Content_Range=f"bytes */{len(content)}")
            return b""
        rest = content[offset:]
        self.head(206, len(rest), Content_Range=f"bytes {offset}-{len(content) - 1}/{len(content)}", **tag)
        return rest

    def hang_up(self, reset: bool = False) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR) if not reset else self.connection.close()

    def sleep(self) -> None:
        self.server.stopped.wait(SLEEP_S)
        self.close_connection = True

    # the behaviours

    def honest(self) -> None:
        self.body(self.start(self.content))

    def no_etag(self) -> None:
        rest = self.start(self.content, etag=None)
        self.body(rest[: len(rest) // 2 + 1] if self.attempt == 1 else rest)
        self.close_connection = True

    def resets(self) -> None:
        rest = self.start(self.content)
        self.body(rest[:100_000])
        if len(rest) > 100_000:
            time.sleep(0.02)  # what was sent arrives before the reset does
            self.hang_up(reset=True)

    def resets_at_once(self) -> None:
        self.hang_up(reset=True)

    def closes_early(self) -> None:
        self.body(self.start(self.content)[:150_000])
        self.close_connection = True

    def closes_chunked(self) -> None:
        self.head(200, None, Transfer_Encoding="chunked")
        half = self.content[: len(self.content) // 2]
        self.body(f"{len(half):x}\r\n".encode() + half + b"\r\n")
        self.hang_up()

    def chunked(self) -> None:
        self.head(200, None, Transfer_Encoding="chunked")
        self.body(f"{len(self.content):x}\r\n".encode() + self.content + b"\r\n0\r\n\r\n")

    def ignores_ranges(self) -> None:
        rest = self.start(self.content, ranges=False)
        self.body(rest[:100_000] if self.attempt == 1 else rest)
        self.close_connection = True

    def wrong_range(self) -> None:
        if self.attempt == 1:
            self.body(self.start(self.content)[:100_000])
            self.close_connection = True
        elif "Range" in self.headers:
            self.always_partial()
        else:
            self.honest()

    def always_partial(self) -> None:
        self.head(206, 1000, Content_Range=f"bytes 5-1004/{len(self.content)}", ETag='"one"')
        self.body(self.content[5:1005])

    def no_range_left(self) -> None:
        if self.attempt == 1:
            self.body(self.start(self.content)[:100_000])
            self.close_connection = True
        elif "Range" in self.headers:
            self.head(416, 0)
        else:
            self.honest()

    def changes(self) -> None:
        if self.attempt == 1:
            old = self.content[:2] + bytes(len(self.content) - 2)
            self.body(self.start(old, etag='"old"')[:100_000])
            self.close_connection = True
        else:
            self.honest()

    def wrong_byte(self) -> None:
        self.body(self.start(self.content[:-2] + bytes([self.content[-2] ^ 1]) + self.content[-1:]))

    def wrong_byte_first(self) -> None:
        """The half that comes before the reset is wrong, what follows is right."""
        if self.attempt == 1:
            self.body(self.start(bytes([self.content[0], self.content[1] ^ 1]) + self.content[2:])[:100_000])
            self.close_connection = True
        else:
            self.honest()

    def says_longer(self) -> None:
        self.head(200, len(self.content) + 1000)
        self.body(self.content)
        self.hang_up()

    def says_shorter(self) -> None:
        self.head(200, len(self.content) - 1000)
        self.body(self.content)
        self.close_connection = True

    def says_nothing(self) -> None:
        """Neither length nor chunks: the end of the connection is the end of the body."""
        self.head(200, None, Connection="close")
        self.body(self.content)
        self.close_connection = True

    def cut_and_says_nothing(self) -> None:
        self.head(200, None, Connection="close")
        self.body(self.content[:-1000])
        self.close_connection = True

    def loop(self) -> None:
        self.head(302, 0, Location=self.path)

    def ping(self) -> None:
        self.head(301, 0, Location=f"/pong/{self.name}")

    def pong(self) -> None:
        self.head(307, 0, Location=f"/ping/{self.name}")

    def endless_redirect(self) -> None:
        self.head(302, 10**12, Location=f"/honest/{self.name}")
        self.body(bytes(1000))
        self.sleep()

    def to_a_file(self) -> None:
        self.head(302, 0, Location="file:///etc/passwd")

    def to_nowhere(self) -> None:
        self.head(302, 0, Location="http://[broken")

    def redirects(self) -> None:
        self.head(302, 0, Location=f"/resets/{self.name}")

    def page(self) -> None:
        self.head(200, 24, Content_Type="text/html; charset=utf-8")
        self.body(b"<html>Please log in</html>"[:24])

    def disguised_page(self) -> None:
        text = b"\n<!DOCTYPE html><html>Quota exceeded</html>".ljust(len(self.content))
        self.head(200, len(text), Content_Type="application/zip")
        self.body(text)

    def stalls(self) -> None:
        self.body(self.start(self.content)[:100_000])
        self.sleep()

    def says_not_even_hello(self) -> None:
        self.sleep()

    def drips(self) -> None:
        self.head(200, len(self.content))
        for at in range(int(SLEEP_S / 0.02)):
            self.body(self.content[at : at + 1])
            time.sleep(0.02)
        self.close_connection = True

    def busy_twice(self) -> None:
        if self.attempt > 2:
            self.honest()
        else:
            self.head(503 if self.attempt == 1 else 429, 0, Retry_After="0")

    def always_busy(self) -> None:
        self.head(503, 0)

    def compresses(self) -> None:
        self.head(200, len(self.content), Content_Encoding="gzip")
        self.body(self.content)

    def garbage(self) -> None:
        self.body(b"\x00\xff not http at all\r\n\r\n")
        self.hang_up()

    def gone(self) -> None:
        self.head(404, 0)

    def secret(self) -> None:
        self.head(403, 0)

    def teapot(self) -> None:
        self.head(418, 0)

    def slow(self) -> None:
        """Whole in the end, but slow enough to be killed in the middle."""
        rest = self.start(self.content)
        for at in range(0, len(rest), 20_000):
            self.body(rest[at : at + 20_000])
            if self.attempt == 1:
                self.server.stopped.wait(0.05)

    def no_ai(self) -> None:
        self.head(200, len(self.content), X_Robots_Tag="otherbot: noai, nofollow")
        self.body(self.content)
