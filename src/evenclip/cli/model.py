"""`evenclip model ...`: model folders that every stage, and plain open_clip, read."""

from typing import Annotated, Literal

import typer

from evenclip.cli.arguments import OutFolder

app = typer.Typer(no_args_is_help=True, help="Write model folders.")


@app.command("packaged", epilog="Example: evenclip model packaged --out models/lite0_minilm")
def model_packaged(
    out: OutFolder,
    image_size: Annotated[int, typer.Option(min=32, help="Side of the input images, in pixels.")] = 128,
    embed_dim: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 256,
    projection: Annotated[Literal["linear", "mlp"], typer.Option(help="Layers of both projections.")] = "linear",
) -> None:
    """Write a model made of two pretrained towers from Python packages, EfficientNet-Lite0 and MiniLM, for photos."""
    from evenclip.features.packaged import write_packaged_model

    write_packaged_model(out, image_size, embed_dim, projection)


@app.command("export", epilog="Example: evenclip model export results/demo/train/m4_preserve/seed0 --out models/m4")
def model_export(
    model: Annotated[str, typer.Argument(help="Run folder, open_clip name:tag, hf-hub:ORG/NAME, or checkpoint.")],
    out: OutFolder,
) -> None:
    """Write a model as a self-contained folder: projections are joined with their trunks."""
    from evenclip.model.clip import load_clip, save_clip
    from evenclip.provenance import atomic_folder

    clip = load_clip(model)
    with atomic_folder(out) as folder:
        save_clip(clip, folder)
