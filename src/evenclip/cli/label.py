"""`evenclip label`, its scattered form, and suggestions of proxies."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import OWN_DATA, NParts, OptionPairs, OutFile, PartsFolder, part_files
from evenclip.errors import InputError

app = typer.Typer()


@app.command(
    rich_help_panel=OWN_DATA,
    epilog="Example: evenclip label --data data/mine/train --lexicon lexicon.yaml --out labels.parquet",
)
def label(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    lexicon: Annotated[Path, typer.Option(help="YAML file of attributes, labels and proxies with their words.")],
    out: OutFile,
    embeddings: Annotated[
        Path | None, typer.Option(help=".npz of the pairs, for the image side and for similarity.")
    ] = None,
    attribute_set: Annotated[Path | None, typer.Option(help=".npz of an annotated set: the image side.")] = None,
    attribute_data: Annotated[Path | None, typer.Option(help="Folder of image-text shards of that set.")] = None,
    attribute: Annotated[
        list[str], typer.Option("--attribute", metavar="COLUMN", help="A column of that set, e.g. gender; repeat.")
    ] = [],  # noqa: B006
    part: Annotated[
        str, typer.Option(metavar="NUMBER/OF", help="Label a block of the shards only, for label-gather.")
    ] = "1/1",
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Label pairs with perceived attributes, targets and proxies, by captions and by images; one row per pair."""
    from evenclip.data.shards import Part
    from evenclip.label import AttributeSet, LabelOptions, label_dataset

    annotated = None
    if attribute_set or attribute_data or attribute:
        if not (attribute_set and attribute_data and attribute):
            raise InputError(
                "the image side is incomplete",
                "label",
                "give --attribute-set, --attribute-data and --attribute together",
            )
        annotated = AttributeSet(attribute_set, attribute_data, tuple(attribute))
    options = LabelOptions.from_arguments(option)
    label_dataset(data, lexicon, out, options, embeddings, annotated, Part.from_argument(part))


@app.command("label-gather", hidden=True)
def label_gather(labels: PartsFolder, parts: NParts, out: OutFile) -> None:
    """Join the labels of all parts of a data folder."""
    from evenclip.label.gather import gather_labels

    print(f"{gather_labels(part_files(labels, parts), out)} pairs")


@app.command(
    "label-proxies",
    rich_help_panel=OWN_DATA,
    epilog="Example: evenclip label-proxies labels.parquet --data data/mine --lexicon lexicon.yaml --out proxies.yaml",
)
def label_proxies(
    labels: Annotated[Path, typer.Argument(metavar="LABELS.parquet", help="Labels table.")],
    data: Annotated[Path, typer.Option(help="Folder of image-text shards that was labelled.")],
    lexicon: Annotated[Path, typer.Option(help="The lexicon it was labelled with.")],
    out: OutFile,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Suggest proxies: words tied to a perceived attribute and to a target, for a person to accept."""
    from evenclip.label.proxies import ProxyOptions, suggest_proxies

    suggestions = suggest_proxies(labels, data, lexicon, out, ProxyOptions.from_arguments(option))
    print(f"{out}: {len(suggestions)} suggestions" + "".join(f", {suggestion.word}" for suggestion in suggestions[:5]))
