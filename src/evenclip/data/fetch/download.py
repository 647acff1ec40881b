"""Fetch one file: resumed, retried, from one mirror after another, checked before it gets its name."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import urllib3

from evenclip.data.fetch.checksums import Expected, check_content, check_whole
from evenclip.data.fetch.http import Client, FetchError, content_length
from evenclip.errors import InputError
from evenclip.provenance import write_json


@dataclass(frozen=True)
class Origin:
    """Where a part comes from; ``validator`` is what If-Range needs to notice a change of the file."""

    url: str
    validator: str | None
    total: int | None


class Part:
    """The unfinished download of the file at ``target``: `<target>.part`, and its origin in `<target>.part.json`."""

    def __init__(self, target: Path):
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._origin_path = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Number of bytes fetched so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def origin(self) -> Origin | None:
        """Origin of these bytes; None if it is not recorded, so that the part cannot be continued."""
        try:
            return Origin(**json.loads(self._origin_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def is_complete(self) -> bool:
        """Whether all bytes that the server announced are there."""
        origin = self.origin
        return origin is not None and self.size > 0 and self.size == origin.total

    def range_headers(self, url: str, has_checksum: bool) -> dict[str, str]:
        """Headers that ask ``url`` for the rest; none where bytes of two files could be mixed unnoticed.

        With a validator, a file that has changed starts over. Without one, or at another mirror, it takes a checksum
        to notice a change.
        """
        origin = self.origin
        if not self.size or origin is None:
            return {}
        if origin.validator is not None and origin.url == url:
            return {"Range": f"bytes={self.size}-", "If-Range": origin.validator}
        return {"Range": f"bytes={self.size}-"} if has_checksum else {}

    def begin(self, url: str, response: urllib3.BaseHTTPResponse) -> int:
        """Prepare for the body of ``response``: keep the part if it continues it, else empty it; return the offset."""
        offset = self.size if response.status == 206 else 0
        length = content_length(response)
        total = offset + length if length is not None else None
        if response.status == 206:
            start, stated_total = _content_range(response)
            totals = {stated_total, total, self.origin.total if self.origin else None} - {None}
            if start != offset or len(totals) > 1:
                self.discard()
                raise FetchError(
                    "bad_range", "the response does not continue the part that was fetched", transient=True
                )
        else:
            self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(asdict(Origin(url, _validator(response), total)), self._origin_path)
        return offset

    def discard(self) -> None:
        """Remove the part."""
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the part to the file's name, once it is on disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        self._origin_path.unlink(missing_ok=True)


def _content_range(response: urllib3.BaseHTTPResponse) -> tuple[int | None, int | None]:
    """Start and total size that a 206 answer states."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", response.headers.get("Content-Range", ""))
    if not match:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator(response: urllib3.BaseHTTPResponse) -> str | None:
    """A strong ETag, or else the date of the last change: what If-Range may hold (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


PROGRESS = 2**24  # a try that brings so many new bytes is no failure, however it ends
PAGES = (".html", ".htm", ".xhtml")
MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ"}


class Download:
    """The download of one file.

    Parameters
    ----------
    target : Path
        Its name appears only when the whole, checked file is there; until then it is ``<target>.part``.
    expected : Expected
        What the file must be.
    client : Client
    reserve : callable, optional
        Called with the bytes still to come, before they do; raises `InputError` where the disk has no room.
    on_bytes : callable, optional
        Called with the number of bytes that came in.
    """

    def __init__(
        self,
        target: Path,
        expected: Expected,
        client: Client,
        reserve: Callable[[int], None] = lambda n: None,
        on_bytes: Callable[[int], None] = lambda n: None,
    ):
        self.target, self.expected, self.client = target, expected, client
        self.reserve, self.on_bytes = reserve, on_bytes
        self.part = Part(target)

    def fetch(self, urls: list[str]) -> tuple[str, str]:
        """Fetch the file from the first of ``urls`` that gives it; return that address and the file's SHA-256 sum.

        Raises
        ------
        InputError
            If no address gives the right file, naming what was wrong with each; or another process is fetching it.
        """
        self.target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.target.with_name(self.target.name + ".part.lock"), timeout=0)
        try:
            with lock:
                source = self._from_any(urls)
                Path(lock.lock_file).unlink(missing_ok=True)
                return source
        except filelock.Timeout:
            raise InputError("another process is fetching it", str(self.target), "wait for that one") from None

    def _from_any(self, urls: list[str]) -> tuple[str, str]:
        failures = []
        for url in urls:
            try:
                return url, self._from_one(url)
            except FetchError as error:
                failures.append(f"{url}: {error.detail} ({error.reason})")
        kept = "; what has come stays in the .part" if self.part.size else ""
        hint = f"try again later{kept}, or fetch it by hand and check it with `evenclip data verify`"
        raise InputError(f"cannot be fetched; {'; '.join(failures)}", str(self.target), hint)

    def _from_one(self, url: str) -> str:
        """Fetch from one address, with retries; return the SHA-256 sum."""
        failures = 0
        while True:
            before = self.part.size
            try:
                if not self.part.is_complete:  # as it is when the last process died just before the check
                    self._bring(url)
                return self._finish(resumed=before > 0)
            except FetchError as error:
                failures = failures + 1 if self.part.size - before < PROGRESS else 1
                if not error.transient or failures >= self.client.options.attempts:
                    raise
            self.client.pause(failures)

    def _bring(self, url: str) -> None:
        """Append the body of one answer to the part."""
        try:
            with self.client.get(url, self.part.range_headers(url, self.expected.has_checksum)) as response:
                self._check_offer(response)
                offset = self.part.begin(url, response)
                if (total := self.part.origin.total) is not None:
                    self.reserve(total - offset)
                with self.part.path.open("ab") as file:
                    for chunk in self.client.body(response):
                        if file.tell() == 0:
                            self._check_start(chunk)
                        file.write(chunk)
                        self.on_bytes(len(chunk))
        except FetchError as error:
            if error.reason == "bad_range":  # the part is longer than the file is now
                self.part.discard()
            raise

    def _check_offer(self, response: urllib3.BaseHTTPResponse) -> None:
        """Refuse an answer whose headers show that it is not the file."""
        if "html" in response.headers.get("Content-Type", "") and not self._is_page:
            raise FetchError("web_page", "answers with a web page instead of the file (a login, a limit, or gone)")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError("encoded", "compresses the transfer although asked not to")
        length, wanted = content_length(response), self.expected.bytes
        if response.status == 200 and None not in (length, wanted) and length != wanted:
            raise FetchError("wrong_length", f"offers {length} bytes, but {self.expected.source} says {wanted}")

    def _check_start(self, chunk: bytes) -> None:
        """Refuse a file whose first bytes are those of a web page, or not those of its kind of archive."""
        if chunk[:256].lstrip().lower().startswith((b"<!doctype html", b"<html")) and not self._is_page:
            raise FetchError("web_page", "answers with a web page instead of the file (a login, a limit, or gone)")
        magic = MAGIC.get(self.target.suffix.lower(), b"")
        if not chunk.startswith(magic[: len(chunk)]):
            raise FetchError("wrong_bytes", f"gives bytes that do not start as a {self.target.suffix}")

    @property
    def _is_page(self) -> bool:
        return self.target.suffix.lower() in PAGES

    def _finish(self, resumed: bool) -> str:
        """Check the whole part and rename it to the file's name; a wrong one is removed."""
        sha256, differs = check_content(self.part.path, self.expected)
        if not differs and self.expected.bytes is None and not self.expected.has_checksum:
            try:
                check_whole(self.part.path, self.target.name)
            except InputError as error:
                differs = [error.what]
        if differs:
            self.part.discard()
            raise FetchError("wrong_bytes", "; ".join(differs), transient=resumed)
        self.part.finish()
        return sha256
