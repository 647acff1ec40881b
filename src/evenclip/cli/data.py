"""`evenclip data ...`: fetch, synthesize, import and verify data sets."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import OptionPairs, OutFile, OutFolder, Seed
from evenclip.plugins import names_of

app = typer.Typer(no_args_is_help=True, help="Fetch, synthesize, import and verify data sets.")

Registry = Annotated[Path, typer.Option(help="The registry of known data sets.")]
REGISTRY = Path("config/datasets.yaml")


@app.command("synthesize", epilog="Example: evenclip data synthesize --split train --n 6000 --out data/world/train")
def data_synthesize(
    split: Annotated[str, typer.Option(help="Which set: train, people, objects, mixed, unmarked, probes.")],
    n: Annotated[int, typer.Option("--n", help="Number of image-text pairs.")],
    out: OutFolder,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Draw a split of the embedded world into image-text shards."""
    from evenclip.data.options import WorldOptions
    from evenclip.data.world.synthesize import synthesize

    synthesize(out, split, n, seed, WorldOptions.from_arguments(option))


@app.command(
    "import",
    epilog="Example: evenclip data import --source photos/ --out data/mine/all --option captions=captions.csv",
    help="Import images and captions into image-text shards. Layouts (--option layout=NAME): "
    + ", ".join(names_of("evenclip.data.layouts")),
)
def data_import(
    source: Annotated[Path, typer.Option(help="Where the files are: a folder, a tar or a zip.")],
    out: OutFolder,
    split: Annotated[str, typer.Option(help="Split to import, where the layout has splits.")] = "all",
    option: OptionPairs = [],  # noqa: B006
) -> None:
    from evenclip.data.importing import import_dataset
    from evenclip.data.options import ImportOptions

    import_dataset(source, out, split, ImportOptions.from_arguments(option))


@app.command(
    "annotate",
    epilog="Example: evenclip data annotate --data data/dev --lexicon config/lexicons/people.yaml --out data/people",
)
def data_annotate(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards.")],
    lexicon: Annotated[Path, typer.Option(help="YAML file with the words of each perceived attribute and target.")],
    out: OutFolder,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Add what captions name as columns, and weights that balance it: a set to measure a model's bias on.

    The options are those of `evenclip balance`.
    """
    from evenclip.balance.options import BalanceOptions
    from evenclip.label.annotate import annotate_dataset

    report = annotate_dataset(data, lexicon, out, BalanceOptions.from_arguments(option))
    print(f"{out}: association bias {report['ab_before']:.3f}, under the weights {report['ab_after']:.3f}")


@app.command("swaps", epilog="Example: evenclip data swaps --data data/flickr8k/dev --out data/flickr8k/swaps")
def data_swaps(
    data: Annotated[Path, typer.Option(help="Folder of image-text shards with several English captions a picture.")],
    out: OutFolder,
    seed: Seed = 0,
) -> None:
    """Make swap probes of captions: the caption against a copy with one word exchanged, by kind."""
    from evenclip.graph.swap_probes import write_swap_probes

    counts = write_swap_probes(data, out, seed)
    print(f"{out}: {', '.join(f'{kind} {n}' for kind, n in sorted(counts.items()))}")


@app.command("fetch", epilog="Example: evenclip data fetch coco_2017")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set of the registry, e.g. coco_2017.")],
    to: Annotated[Path | None, typer.Option(help="Folder for its files; default data/raw/NAME.")] = None,
    accept_terms: Annotated[bool, typer.Option("--accept-terms", help="You accept the data set's terms.")] = False,
    registry: Registry = REGISTRY,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Fetch the files of a known data set: interrupted downloads resume, and checksums are compared."""
    from evenclip.data.fetch import FetchOptions, fetch_dataset

    fetch_dataset(name, to or Path("data/raw") / name, FetchOptions.from_arguments(option), accept_terms, registry)


@app.command("fetch-images", epilog="Example: evenclip data fetch-images cc3m.tsv --out data/cc3m/train")
def data_fetch_images(
    url_list: Annotated[Path, typer.Argument(metavar="LIST", help="Captions and addresses, TSV or Parquet.")],
    out: OutFolder,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Fetch the images of a list of captions and addresses into image-text shards; count the dead links."""
    from evenclip.data.fetch import UrlListOptions, fetch_images

    fetch_images(url_list, out, UrlListOptions.from_arguments(option))


@app.command("verify", epilog="Example: evenclip data verify data/mine/train")
def data_verify(
    data: Annotated[str, typer.Argument(help="Folder of image-text shards; with --root, a data set of the registry.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set's raw files.")] = None,
    registry: Registry = REGISTRY,
) -> None:
    """Check shards against the sums in their manifest, or raw files against the registry."""
    if root is not None:
        from evenclip.data.fetch import verify_raw

        print(f"{root}: {verify_raw(data, root, registry)}")
        return
    from evenclip.data.shards import verify_dataset

    print(f"{data}: {verify_dataset(data)} pairs, every shard as it was written")


@app.command(
    "questions",
    epilog="Example: evenclip data questions q.json --annotations a.json --data data/coco/val2017 --out q.parquet",
)
def data_questions(
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.json", help="Questions of VQA v2.")],
    out: OutFile,
    annotations: Annotated[Path | None, typer.Option(help="Their annotations: the answers.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of image-text shards with the pictures.")] = None,
) -> None:
    """Write VQA v2's questions and answers as one table."""
    from evenclip.data.vqa_questions import write_questions_table

    print(f"{out}: {write_questions_table(questions, annotations, data, out)} questions")
