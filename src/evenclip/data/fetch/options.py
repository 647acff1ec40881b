"""Options of fetching: retries, waits and limits."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options

Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class HttpOptions(Options):
    """Retries, waits and limits of HTTP requests."""

    attempts: Positive = 6
    """Tries in a row that bring no new bytes, after which an address is given up."""
    backoff_s: Seconds = 1.0
    """Wait after the first failure, in seconds; doubled after each further one, with a random factor in [0.5, 1]."""
    longest_wait_s: Seconds = 120.0
    """Longest wait between two tries, in seconds, even if a server asks for more."""
    connect_timeout_s: Annotated[float, Field(gt=0)] = 15.0
    """Give up connecting after this time, in seconds."""
    read_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Give up a connection that is silent for this time, or brings less than 1 kB/s over it, in seconds."""
    per_host: Positive = 2
    """Connections to one host at a time."""
    host_delay_s: Seconds = 0.0
    """Shortest time between two requests to one host, in seconds."""


class FetchOptions(HttpOptions):
    """How the files of a data set are fetched."""

    at_once: Positive = 4
    """Files fetched at a time, over all hosts."""
    keep_free_gb: Annotated[float, Field(ge=0)] = 1.0
    """Disk space to leave free, in 10^9 bytes."""


class UrlListOptions(HttpOptions):
    """How the images of a url list are fetched: from many hosts, of which some are slow and some are gone."""

    attempts: Positive = 2
    """Tries of an address."""
    connect_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Give up connecting after this time, in seconds."""
    read_timeout_s: Annotated[float, Field(gt=0)] = 15.0
    """Give up a connection that is silent for this time, or brings less than 1 kB/s over it, in seconds."""
    per_host: Positive = 8
    """Connections to one host at a time."""
    at_once: Positive = 64
    """Images fetched at a time, over all hosts."""
    columns: list[str] = ["caption", "url"]
    """Names of a TSV's columns, in order, where it has no header: CC3M has [caption, url], CC12M [url, caption]."""
    max_image_mb: Annotated[float, Field(gt=0)] = 32.0
    """Images of more bytes are left out, in 10^6 bytes."""
    max_px: Annotated[int, Field(ge=16)] | None = None
    """Shrink images whose shorter side is longer than this; None = keep them as they are."""
    shard_size: Positive = 10_000
    """Rows of the list per shard; the shard has as many pairs as could be fetched."""
