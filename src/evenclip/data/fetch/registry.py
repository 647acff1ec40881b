"""The registry of known data sets, `config/datasets.yaml`: files, checksums, counts and terms of use.

Read by `evenclip data fetch NAME` and `evenclip data verify NAME --root DIR`; docs/datasets.md is generated from it.
"""

import difflib
import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from evenclip.data.options import Layout
from evenclip.errors import InputError
from evenclip.options import Options, read_yaml

REGISTRY = Path("config/datasets.yaml")

Unknown = Literal["unknown"]
# graph sources; `data fetch-images`; `data questions`
OtherReader = Literal["conceptnet", "visualsem", "url_list", "vqa"]
Size = Annotated[int, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern="^[a-z0-9_]+$")]


def _below_the_root(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("must be a path below the data set's folder, with '/'")
    return path


def _web_address(url: str) -> str:
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    return url


RelativePath = Annotated[str, AfterValidator(_below_the_root)]
Url = Annotated[str, AfterValidator(_web_address)]


class RawFile(Options):
    """One file as its publisher gives it."""

    path: RelativePath
    """Path below the data set's folder."""
    url: Url | None = None
    """Address at the publisher; none = the file has to be downloaded by hand."""
    mirrors: list[Url] = []
    """Other addresses of the same file, tried in this order after `url`."""
    bytes: Size | Unknown
    """Size; if `unknown`, it is recorded at the first fetch."""
    sha256: Sha256 | Unknown
    """SHA-256 sum; if `unknown`, it is recorded at the first fetch."""
    md5: Md5 | None = None
    """MD5 sum, if the publisher states that instead."""
    checksum_from: str | None = None
    """Who states the checksum: the publisher, or another project that fetched the file."""

    @property
    def urls(self) -> list[str]:
        """All addresses, the publisher's first."""
        return [*([self.url] if self.url else []), *self.mirrors]

    @model_validator(mode="after")
    def _sources_are_named(self) -> Self:
        has_checksum = self.sha256 != "unknown" or self.md5 is not None
        if has_checksum != (self.checksum_from is not None):
            raise ValueError("give checksum_from if, and only if, there is a checksum")
        if self.mirrors and self.url is None:
            raise ValueError("mirrors without url")
        return self


class Count(Options):
    """Number of items of one kind in a complete data set."""

    n: Size
    """The number, as the publisher states it."""
    files: str | None = None
    """Pattern of the file names to count, in folders and archives; none = cannot be counted in the raw files."""
    lines: bool = False
    """Count the lines of those files instead."""


class Terms(Options):
    """Terms of use of a data set."""

    licence: str
    """Name of the licence, or `none stated`."""
    summary: str
    """What the licence allows and requires, in a sentence or two."""
    accept: bool = False
    """Whether `evenclip data fetch` needs --accept-terms: the publisher restricts who may use it, or for what."""


class DatasetEntry(Options):
    """A known data set."""

    title: str
    """Its name in papers."""
    version: str
    """Version or year of the publisher's files."""
    homepage: Url
    """The publisher's page."""
    terms: Terms
    """Terms of use."""
    citation: str
    """The paper to cite."""
    files: Annotated[list[RawFile], Field(min_length=1)]
    """The publisher's files."""
    by_hand: str | None = None
    """For files without url: what to do to get them."""
    counts: dict[str, Count]
    """Counts of the complete data set, by kind of item."""
    layout: Layout | OtherReader
    """Reader of the files: a layout of `evenclip data import`, a source of `evenclip graph`, or another command."""
    notes: str | None = None
    """Known peculiarities of the files."""

    @model_validator(mode="after")
    def _files_can_be_had(self) -> Self:
        paths = [file.path for file in self.files]
        if doubled := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"the path {doubled[0]} occurs twice")
        if (self.by_hand is None) != all(file.urls for file in self.files):
            raise ValueError("by_hand says what to do for files without url, and only for those")
        return self


class Registry(Options):
    """All known data sets."""

    datasets: dict[Name, DatasetEntry]
    """Data sets by name."""

    def entry(self, name: str, where: str | os.PathLike = REGISTRY) -> DatasetEntry:
        """The data set called ``name``; `InputError` naming the nearest known one."""
        if name in self.datasets:
            return self.datasets[name]
        near = difflib.get_close_matches(name, self.datasets, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(self.datasets)}"
        raise InputError(f"no data set '{name}'", str(where), hint)


def read_registry(path: str | os.PathLike = REGISTRY) -> Registry:
    """Read and check a registry file."""
    values = read_yaml(path)
    return Registry.parse(values if isinstance(values, dict) else {"datasets": values}, str(path))
