"""The registry of known data sets, `config/datasets.yaml`: what to fetch, how to tell it is right, and on what terms.

Read by `evenclip data fetch NAME` and `evenclip data verify NAME --root DIR`; docs/datasets.md is written from it.
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
    """Where it lies below the data set's folder."""
    url: Url | None = None
    """Where the publisher serves it; none = it has to be put there by hand."""
    mirrors: list[Url] = []
    """Other addresses of the same bytes, tried in this order after `url`."""
    bytes: Size | Unknown
    """Its size; `unknown` is recorded at the first fetch."""
    sha256: Sha256 | Unknown
    """Its SHA-256 sum; `unknown` is recorded at the first fetch."""
    md5: Md5 | None = None
    """The MD5 sum, where that is what the publisher states."""
    checksum_from: str | None = None
    """Who states the checksum: the publisher, or another project that fetched the file."""

    @property
    def urls(self) -> list[str]:
        """All addresses, the publisher's first."""
        return [*([self.url] if self.url else []), *self.mirrors]

    @model_validator(mode="after")
    def _sources_are_named(self) -> Self:
        known = self.sha256 != "unknown" or self.md5 is not None
        if known != (self.checksum_from is not None):
            raise ValueError("checksum_from goes with a checksum, and only with one")
        if self.mirrors and self.url is None:
            raise ValueError("mirrors without url")
        return self


class Count(Options):
    """How many of something a whole data set has."""

    n: Size
    """The number, as the publisher states it."""
    files: str | None = None
    """Pattern of file names that are counted, in folders and in archives; none = it cannot be counted in raw files."""
    lines: bool = False
    """Count the lines of those files instead."""


class Terms(Options):
    """On what terms a data set may be used."""

    licence: str
    """Name of the licence, or `none stated`."""
    summary: str
    """What it allows and asks for, in a sentence or two."""
    accept: bool = False
    """Whether `evenclip data fetch` asks for --accept-terms: the publisher restricts who may use it, or what for."""


class DatasetEntry(Options):
    """A known data set."""

    title: str
    """Its name in papers."""
    version: str
    """Version or year of the publisher's files."""
    homepage: Url
    """The publisher's page."""
    terms: Terms
    """On what terms it may be used."""
    citation: str
    """The paper to cite."""
    files: Annotated[list[RawFile], Field(min_length=1)]
    """The publisher's files."""
    by_hand: str | None = None
    """For files without url: what to do to get them."""
    counts: dict[str, Count]
    """What a whole data set has, by what is counted."""
    layout: Layout | OtherReader
    """Who reads the files: a layout of `evenclip data import`, a source of `evenclip graph`, or another command."""
    notes: str | None = None
    """What is known to be odd about the files."""

    @model_validator(mode="after")
    def _files_can_be_had(self) -> Self:
        paths = [file.path for file in self.files]
        if doubled := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"the path {doubled[0]} stands twice")
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
