"""One source of a graph: a format, and the file or folder that has it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from evenclip.data.picture_keys import PictureKeys
from evenclip.errors import InputError
from evenclip.graph.options import GraphOptions
from evenclip.graph.sources.captions import read_caption_triples
from evenclip.graph.sources.conceptnet import read_conceptnet
from evenclip.graph.sources.mkg import read_mkg
from evenclip.graph.sources.pairs import read_pair_triples
from evenclip.graph.sources.visual_genome import read_visual_genome
from evenclip.graph.sources.visualsem import read_visualsem
from evenclip.graph.sources.wordnet import read_wordnet
from evenclip.graph.tables import Graph

Format = Literal["conceptnet", "wordnet", "mkg", "visual_genome", "visualsem", "captions", "pairs"]


@dataclass(frozen=True)
class GraphSource:
    """One source; `captions` and `pairs` are read from a data folder."""

    format: Format
    path: Path

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Read ``FORMAT=PATH``."""
        name, _, path = argument.partition("=")
        if name not in get_args(Format) or not path:
            raise InputError(f"'{argument}' is not FORMAT=PATH", "--source", f"FORMAT: {', '.join(get_args(Format))}")
        return cls(name, Path(path))

    @property
    def files(self) -> list[Path]:
        """The source's files, for its fingerprint; a data folder stands for its manifest."""
        if self.path.is_dir() and self.format not in ("captions", "pairs"):
            return sorted(path for path in self.path.iterdir() if path.is_file() and not path.name.startswith("."))
        return [self.path]


def read_source(source: GraphSource, graph: Graph, pictures: PictureKeys, options: GraphOptions) -> None:
    """Add a source to the graph.

    Raises
    ------
    InputError
        If it cannot be read, has no triple, or more malformed records than the options allow.
    """
    match source.format:
        case "conceptnet":
            read_conceptnet(source.path, graph, options.language)
        case "wordnet":
            read_wordnet(source.path, graph)
        case "mkg":
            read_mkg(source.path, graph)
        case "visual_genome":
            read_visual_genome(source.path, graph, pictures)
        case "visualsem":
            read_visualsem(source.path, graph, pictures, options.language)
        case "captions":
            read_caption_triples(source.path, graph)
        case "pairs":
            read_pair_triples(source.path, graph)
    counts = graph.counts[source.format]
    n_bad, n_good = counts["malformed"], counts["read"]
    if n_bad > options.max_malformed_share * (n_good + n_bad):
        what = f"{n_bad} of {n_good + n_bad} records are malformed"
        raise InputError(what, graph.malformed[-1], f"is it the format {source.format}? (or raise max_malformed_share)")
    if not n_good:
        raise InputError("no triple is there", str(source.path), f"is it the format {source.format}?")
