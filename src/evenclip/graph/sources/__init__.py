"""Formats of graph sources: one module each, discovered automatically.

A module defines ``DESCRIPTION``, one line about its files and the entities they give, and ``read(path, graph,
context)``, which adds the triples of a file or folder to a `Graph`. ``READS_DATA_FOLDER = True`` marks a format that is
read from a data folder of image-text pairs. Study files, the command line and docs/graph.md take names and descriptions
from `FORMATS`.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, Self

from evenclip.errors import InputError
from evenclip.graph.options import GraphOptions
from evenclip.graph.sources.base import SourceContext
from evenclip.graph.tables import Graph
from evenclip.plugins import modules_of

FORMATS: dict[str, ModuleType] = modules_of(__name__)
"""Formats by name, in alphabetical order."""
Format = Literal[tuple(FORMATS)]


@dataclass(frozen=True)
class GraphSource:
    """File or folder in one of the `FORMATS`."""

    format: Format
    path: Path

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Parse ``FORMAT=PATH``."""
        name, _, path = argument.partition("=")
        if name not in FORMATS or not path:
            raise InputError(f"'{argument}' is not FORMAT=PATH", "--source", f"FORMAT: {', '.join(FORMATS)}")
        return cls(name, Path(path))

    @property
    def files(self) -> list[Path]:
        """Files of the source, for its fingerprint; a data folder stands for itself."""
        if self.path.is_dir() and not getattr(FORMATS[self.format], "READS_DATA_FOLDER", False):
            return sorted(path for path in self.path.iterdir() if path.is_file() and not path.name.startswith("."))
        return [self.path]


def read_source(source: GraphSource, graph: Graph, context: SourceContext, options: GraphOptions) -> None:
    """Add a source to the graph.

    Raises
    ------
    InputError
        The source cannot be read, has no triple, or has more malformed records than the options allow.
    """
    FORMATS[source.format].read(source.path, graph, context)
    counts = graph.counts[source.format]
    n_malformed, n_read = counts["malformed"], counts["read"]
    if n_malformed > options.max_malformed_share * (n_read + n_malformed):
        what = f"{n_malformed} of {n_read + n_malformed} records are malformed"
        hint = f"is its format {source.format}? If so, raise max_malformed_share"
        raise InputError(what, graph.malformed[-1], hint)
    if not n_read:
        raise InputError("the source has no triple", str(source.path), f"is its format {source.format}?")
