"""Build the graph from its sources: `triples.parquet`, `entities.parquet`, `relations.parquet`, `graph.json`."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field

from evenclip.data.pictures import PictureKeys
from evenclip.errors import InputError
from evenclip.graph.conceptnet import read_conceptnet
from evenclip.graph.mkg import read_mkg
from evenclip.graph.tables import Graph
from evenclip.graph.visual_genome import read_visual_genome
from evenclip.graph.visualsem import read_visualsem
from evenclip.graph.wordnet import read_wordnet
from evenclip.options import Options
from evenclip.provenance import Manifest, atomic_folder, sha256_file, write_json
from evenclip.records import write_table

Format = Literal["conceptnet", "wordnet", "mkg", "visual_genome", "visualsem"]


class GraphOptions(Options):
    """How the sources of a graph are read."""

    language: str = "en"
    """Language of ConceptNet's terms and of VisualSem's glosses, as these write it."""
    max_malformed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """More malformed records of a source than this share is an error."""


@dataclass(frozen=True)
class GraphSource:
    """One source: a format, and the file or folder that has it."""

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
        """The source's files, for its fingerprint."""
        if self.path.is_dir():
            return sorted(path for path in self.path.iterdir() if path.is_file() and not path.name.startswith("."))
        return [self.path]


def build_graph(
    sources: list[GraphSource], out: str | os.PathLike, data: str | os.PathLike | None, options: GraphOptions
) -> dict[str, int]:
    """Write the graph of all ``sources`` to the folder ``out``; return the numbers of rows.

    Parameters
    ----------
    sources : list of GraphSource
        Entities of different sources are different, even where their words are the same.
    data : path, optional
        Data folder with the pictures; an entity whose picture is not in it is text only. Without it, ``image_key`` is
        the picture's number or name in the source.

    Raises
    ------
    InputError
        If a source cannot be read, has no triple, or more malformed records than ``max_malformed_share``.
    """
    for source in sources:
        if not source.path.exists():
            raise InputError("no such file or folder", str(source.path), "check the path")
    inputs = {f"{each.format} {path.name}": path for each in sources for path in each.files}
    manifest = Manifest("graph", options.model_dump(mode="json"), inputs | ({} if data is None else {"data": data}))
    graph, pictures = Graph(), PictureKeys(data)
    for source in sources:
        graph.begin(source.format)
        _read(source, graph, pictures, options)
        _check(source, graph, options.max_malformed_share)
    tables = graph.tables()
    rows = {f"n_{name}": len(table) for name, table in tables.items()}
    modalities = Counter(tables["entities"].column("modality").to_pylist())
    with atomic_folder(out) as folder:
        for name, table in tables.items():
            write_table(table, folder / f"{name}.parquet")
        counts = {source: dict(count) for source, count in graph.counts.items()}
        write_json(rows | {"sources": counts, "modalities": dict(modalities)}, folder / "graph.json")
        digests = {name: sha256_file(folder / f"{name}.parquet") for name in tables}
        manifest.write(folder / "manifest.json", **rows, sha256=digests)
    return rows


def _read(source: GraphSource, graph: Graph, pictures: PictureKeys, options: GraphOptions) -> None:
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


def _check(source: GraphSource, graph: Graph, allowed: float) -> None:
    counts = graph.counts[source.format]
    n_bad, n_good = counts["malformed"], counts["triples"] + counts["duplicates"]
    if n_bad > allowed * (n_good + n_bad):
        what = f"{n_bad} of {n_good + n_bad} records are malformed"
        raise InputError(what, graph.malformed[-1], f"is it the format {source.format}? (or raise max_malformed_share)")
    if not n_good:
        raise InputError("no triple is there", str(source.path), f"is it the format {source.format}?")
