"""`evenclip export`: weights for other trainers."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import OWN_DATA
from evenclip.plugins import summaries_of

app = typer.Typer()

CONSUMERS = summaries_of("evenclip.export")


@app.command(
    rich_help_panel=OWN_DATA,
    epilog="Example: evenclip export balanced/weights.parquet --as datacomp --out subset.npy",
)
def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="weights.parquet of `evenclip balance`.")],
    consumer: Annotated[str, typer.Option("--as", metavar="NAME", help=f"One of {', '.join(CONSUMERS)}.")],
    out: Annotated[Path, typer.Option("--out", help="File or folder to write; replaced as a whole.")],
    data: Annotated[
        Path | None, typer.Option(help="Data folder of the same pairs, for webdataset and open_clip.")
    ] = None,
) -> None:
    """Write weights in the formats of other trainers: shards, a subset file, a table, or sources with factors."""
    from evenclip.export import export_weights

    print(export_weights(weights, consumer, out, data))
