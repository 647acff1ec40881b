"""Fetch one image from the web, as bytes that are decoded at once; used by `evenclip data fetch-images`."""

import hashlib
import re
import time

import urllib3

from evenclip.data.fetch.http import Client, Trouble, content_length
from evenclip.data.images import BadImage, JpegImage, to_jpeg

LONGEST_S = 120.0  # no image is worth more
OPT_OUT = frozenset(("noai", "noimageai", "noindex", "noimageindex"))  # what img2dataset respects too


def fetch_image(url: str, client: Client, max_bytes: int, max_px: int | None) -> tuple[JpegImage, str]:
    """The image at ``url`` as JPEG, and the SHA-256 sum of the bytes that came; raise `Trouble` if there is none."""
    failures = 0
    while True:
        try:
            content = _get(url, client, max_bytes)
            return to_jpeg(content, max_px), hashlib.sha256(content).hexdigest()
        except BadImage as error:
            raise Trouble(error.reason, error.detail) from None
        except Trouble as trouble:
            failures += 1
            if not trouble.passing or failures >= client.options.attempts:
                raise
        client.pause(failures)


def _get(url: str, client: Client, max_bytes: int) -> bytes:
    start = time.monotonic()
    with client.get(url) as response:
        _check_offer(response, max_bytes)
        content = bytearray()
        for chunk in client.body(response):
            content += chunk
            if len(content) > max_bytes:
                raise Trouble("image_too_large", f"more than {max_bytes} bytes")
            if time.monotonic() - start > LONGEST_S:
                raise Trouble("timeout", f"more than {LONGEST_S:g} s")
    return bytes(content)


def _check_offer(response: urllib3.BaseHTTPResponse, max_bytes: int) -> None:
    if opted_out := OPT_OUT & set(re.split(r"[\s,:]+", response.headers.get("X-Robots-Tag", "").lower())):
        raise Trouble("opted_out", f"X-Robots-Tag: {', '.join(sorted(opted_out))}")
    if "html" in response.headers.get("Content-Type", ""):
        raise Trouble("web_page", "answers with a web page")
    if (content_length(response) or 0) > max_bytes:
        raise Trouble("image_too_large", f"{content_length(response)} bytes")
