"""The part of a file that is here already: `<name>.part`, and beside it what is needed to go on with it.

A part is never taken for the file: it gets the file's name when it is whole and checked, by a rename. A process that is
killed leaves the part as it was.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import urllib3

from evenclip.data.fetch.http import Trouble, content_length
from evenclip.provenance import write_json


@dataclass(frozen=True)
class Origin:
    """Where a part comes from; ``validator`` is what If-Range needs to tell whether that has changed since."""

    url: str
    validator: str | None
    total: int | None


class Part:
    """The part of the file at ``target``."""

    def __init__(self, target: Path):
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._origin_path = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def origin(self) -> Origin | None:
        """Where they come from; None where that is not on record, and so cannot be gone on with."""
        try:
            return Origin(**json.loads(self._origin_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are here that its origin announced."""
        origin = self.origin
        return origin is not None and self.size > 0 and self.size == origin.total

    def range_headers(self, url: str, has_checksum: bool) -> dict[str, str]:
        """Headers that ask ``url`` for the rest; none where two files could be mixed without anybody noticing.

        A validator makes a changed file start over. Without one, or at another mirror, only a checksum can tell.
        """
        origin = self.origin
        if not self.size or origin is None:
            return {}
        if origin.validator is not None and origin.url == url:
            return {"Range": f"bytes={self.size}-", "If-Range": origin.validator}
        return {"Range": f"bytes={self.size}-"} if has_checksum else {}

    def begin(self, url: str, response: urllib3.BaseHTTPResponse) -> int:
        """Get ready for the body of ``response``: keep what it continues, else empty the part; return the offset."""
        offset = self.size if response.status == 206 else 0
        length = content_length(response)
        total = offset + length if length is not None else None
        if response.status == 206:
            start, said = _content_range(response)
            totals = {said, total, self.origin.total if self.origin else None} - {None}
            if start != offset or len(totals) > 1:
                self.discard()
                raise Trouble("bad_range", "the answer does not continue the part that is here", passing=True)
        else:
            self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(asdict(Origin(url, _validator(response), total)), self._origin_path)
        return offset

    def discard(self) -> None:
        """Forget what is here."""
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the part the file's name, once it is on disk."""
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
