"""`evenclip train`: one model."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import OptionPairs, OutFolder, Seed
from evenclip.plugins import names_of

app = typer.Typer()
METHODS = ", ".join(names_of("evenclip.train.methods"))


@app.command(epilog=f"Methods, each switched on by the option of its name (--option NAME={{}}): {METHODS}.")
def train(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    weights: Annotated[Path, typer.Option(help="weights.parquet of `evenclip balance`.")],
    out: OutFolder,
    seed: Seed = 0,
    state: Annotated[Path, typer.Option(help="Where interrupted trainings are kept.")] = Path(".state"),
    labels: Annotated[Path | None, typer.Option(help="Labels table, for methods that use labels.")] = None,
    graph: Annotated[Path | None, typer.Option(help="Folder of `evenclip graph`, for methods that use it.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow store to watch the training in, live.")] = None,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Train a CLIP model on weighted image-text pairs; continues where an interrupted training stopped.

    For several processes: torchrun --nproc-per-node N -m evenclip train ...
    """
    from evenclip.track.live import live_log
    from evenclip.train import TrainOptions, train_model

    options = TrainOptions.from_arguments(option)
    with live_log(tracking_uri, "/".join(out.resolve().parts[-2:])) as watch:
        train_model(data, weights, out, seed, state, options, labels, graph, watch)
