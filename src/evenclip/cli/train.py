"""`evenclip features` and `evenclip train`."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import TRAINING, OptionPairs, OutFolder, SeedFolder, Seeds, of_seeds
from evenclip.errors import InputError
from evenclip.plugins import names_of

app = typer.Typer()
METHODS = ", ".join(names_of("evenclip.train.methods"))


@app.command(
    rich_help_panel=TRAINING,
    epilog="Example: evenclip features --model ViT-B-32:openai --data data/mine/train --out features/",
)
def features(
    model: Annotated[str, typer.Option(help="Model folder, open_clip name:tag, or checkpoint: its trunks.")],
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    out: OutFolder,
    prompts: Annotated[list[Path], typer.Option(help="Prompt file whose texts are added; repeat.")] = [],  # noqa: B006
    state: Annotated[Path, typer.Option(help="Where interrupted computations are kept.")] = Path(".state"),
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Compute the features of a model's frozen trunks for a data set, once for all trainings of projections."""
    from evenclip.features import FeatureOptions, compute_features

    compute_features(model, data, out, FeatureOptions.from_arguments(option), prompts, state)


@app.command(
    rich_help_panel=TRAINING,
    epilog=f"Methods, each switched on by the option of its name (--option NAME={{}}): {METHODS}.\n\n"
    "Example: evenclip train --data data/mine/train --weights balanced/weights.parquet --out model/",
)
def train(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    weights: Annotated[Path, typer.Option(help="weights.parquet of `evenclip balance`.")],
    out: SeedFolder,
    seed: Seeds = [0],  # noqa: B006
    state: Annotated[Path, typer.Option(help="Where interrupted trainings are kept.")] = Path(".state"),
    labels: Annotated[Path | None, typer.Option(help="Labels table, for methods that use labels.")] = None,
    graph: Annotated[Path | None, typer.Option(help="Folder of `evenclip graph`, for methods that use it.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Folder of `evenclip features` of this data, to train projections alone.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow store to watch one training in, live.")] = None,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Train a CLIP model on weighted image-text pairs; continues where an interrupted training stopped.

    With several seeds, one model is trained with each, on data that is read once. For several processes:
    torchrun --nproc-per-node N -m evenclip train ...
    """
    from evenclip.track.live import live_log
    from evenclip.train import TrainOptions, train_models

    outs = {number: Path(path) for number, path in of_seeds(out, seed, "--out").items()}
    if tracking_uri and len(seed) > 1:
        raise InputError("--tracking-uri can show only one training", "--tracking-uri", "give one --seed")
    options = TrainOptions.from_arguments(option)
    with live_log(tracking_uri, "/".join(outs[seed[0]].resolve().parts[-2:])) as watch:
        train_models(data, weights, outs, state, options, labels, graph, watch, features)
