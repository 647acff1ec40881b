"""`evenclip graph`: the knowledge graph of a data set."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import TRAINING, OptionPairs, OutFolder, Seed
from evenclip.plugins import names_of

app = typer.Typer()
FORMATS = ", ".join(names_of("evenclip.graph.sources"))


@app.command(
    rich_help_panel=TRAINING,
    epilog="Example: evenclip graph --source captions=data/mine/train --data data/mine/train --out graph/",
)
def graph(
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="FORMAT=PATH",
            help=f"Format and file or folder, e.g. conceptnet=a.csv.gz; repeat. Formats: {FORMATS}.",
        ),
    ],
    out: OutFolder,
    data: Annotated[Path | None, typer.Option(help="Folder of image-text shards with the entities' pictures.")] = None,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Build the knowledge graph from its sources: triples, split, entities, relations, and false captions."""
    from evenclip.graph import GraphOptions, GraphSource, build_graph

    sources = [GraphSource.from_argument(argument) for argument in source]
    rows = build_graph(sources, out, data, GraphOptions.from_arguments(option), seed)
    print(f"{out}: " + ", ".join(f"{n} {name.removeprefix('n_')}" for name, n in rows.items()))
