"""`evenclip embed`, `evenclip evaluate`, `evenclip vqa` and `evenclip links`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from evenclip.cli.arguments import MEASURING, OptionPairs, OutFile, Seed, SeedFile, SeedFolder, Seeds, of_seeds
from evenclip.errors import InputError
from evenclip.plugins import names_of

app = typer.Typer()

KINDS = ", ".join(names_of("evenclip.evaluate.metrics"))


@app.command(
    rich_help_panel=MEASURING,
    epilog="Example: evenclip embed --model ViT-B-32:openai --set mine=data/mine/test --out embeddings/",
)
def embed(
    model: Annotated[
        str, typer.Option(help="A run folder, where {seed} = the seed; an open_clip name:tag, or a checkpoint.")
    ],
    dataset: Annotated[
        list[str],
        typer.Option("--set", metavar="NAME=DATA[:PROMPTS,...]", help="A set: its shards and prompt files; repeat."),
    ],
    out: SeedFolder,
    seed: Seeds = [0],  # noqa: B006
    features: Annotated[
        list[str],
        typer.Option(metavar="NAME=FOLDER", help="Folder of `evenclip features` of a set, for projections; repeat."),
    ] = [],  # noqa: B006
    parts: Annotated[
        int, typer.Option(min=1, help="Measure seed k on the k-th of so many equal parts of each set, in turn.")
    ] = 1,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Embed images, captions and class prompts of every set once, for all evaluations: one .npz per set."""
    from evenclip.data.shards import Part
    from evenclip.embed import EmbedOptions, EmbedSet, embed_sets

    if bad := [argument for argument in features if not all(argument.partition("="))]:
        raise InputError(f"'{bad[0]}' names no folder", "--features", "write NAME=FOLDER")
    names = of_seeds(model, seed, "--model")
    models = dict(zip(names.values(), of_seeds(out, seed, "--out").values(), strict=True))
    embed_sets(
        {name: Path(folder) for name, folder in models.items()},
        [EmbedSet.from_argument(argument) for argument in dataset],
        EmbedOptions.from_arguments(option),
        {name: Path(folder) for name, _, folder in (argument.partition("=") for argument in features)},
        {name: Part(number % parts + 1, parts) for number, name in names.items()},
    )


@app.command(
    rich_help_panel=MEASURING,
    epilog="Example: evenclip evaluate --model ViT-B-32:openai --dataset fairface --out fairface.json",
)
def evaluate(
    out: SeedFile,
    datasets: Annotated[
        list[str], typer.Option("--dataset", help="A data set of the suites, or a folder of image-text shards.")
    ],
    models: Annotated[
        list[str], typer.Option("--model", help="An evenclip run folder, an open_clip name:tag, or a checkpoint.")
    ] = [],  # noqa: B006
    embeddings: Annotated[
        list[str], typer.Option(help="Instead of a model: .npz files of `evenclip embed`, or of your own; repeat.")
    ] = [],  # noqa: B006
    train_embeddings: Annotated[
        list[str], typer.Option(help=".npz of the split that a linear probe trains on, with --embeddings; repeat.")
    ] = [],  # noqa: B006
    suite: Annotated[list[str], typer.Option(help="Built-in tasks: quality, bias; repeat. Default: all.")] = [],  # noqa: B006
    task: Annotated[
        list[str],
        typer.Option(
            metavar="KIND:{...}",
            help=f"A task, e.g. 'zeroshot:{{column: object, prompts: objects}}'; repeat. Kinds: {KINDS}.",
        ),
    ] = [],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="Name of the set in the metrics, e.g. world_people.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon of the groups that captions name, where the data has no such column.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Folder of the prompt files that tasks name; default: config/prompts.")
    ] = None,
    suites: Annotated[Path, typer.Option(help="The built-in suites.")] = Path("config/suites.yaml"),
    cache: Annotated[
        Path | None, typer.Option(help="Where a model's embeddings are kept; default: .cache/embeddings.")
    ] = None,
    seed: Seeds = [0],  # noqa: B006
    option: OptionPairs = [],  # noqa: B006
    embed_option: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="An option of embedding, e.g. batch_size=64; repeat.")
    ] = [],  # noqa: B006
) -> None:
    """Measure quality and bias of a model on a data set, each metric with a bootstrap 95 % interval.

    With several seeds, {seed} in the paths of the model or embeddings and of --out stands for the seed.
    """
    import json

    from evenclip.evaluate import EvaluateOptions, Task, evaluate_set
    from evenclip.evaluate.suites import Suites, find_set, read_suites

    dataset, model = _single(datasets, "--dataset"), _single(models, "--model")
    if (model is None) == (not embeddings):
        raise InputError("neither or both of --model and --embeddings are given", "evaluate", "give one of them")
    if model:
        _refuse({"--train-embeddings": train_embeddings}, "--model, which embeds its own training split")
    else:
        _refuse({"--embed-option": embed_option, "--prompts": prompts, "--cache": cache}, "--embeddings")
    known_suites = read_suites(suites) if suites.exists() or not Path(dataset).is_dir() else Suites(datasets={})
    evaluated_set = find_set(dataset, known_suites)
    tasks = [Task.from_argument(argument) for argument in task]
    if suite or not task:
        tasks += evaluated_set.tasks(suite)
    options, name = EvaluateOptions.from_arguments(option), name or evaluated_set.name
    for number, path in of_seeds(out, seed, "--out").items():
        if model is None:
            files, train_files = (
                [Path(template.replace("{seed}", str(number))) for template in templates]
                for templates in (embeddings, train_embeddings)
            )
            document = evaluate_set(
                evaluated_set.folder, files, name, tasks, Path(path), number, options, train_files, lexicon=lexicon
            )
        else:
            from evenclip.embed import EmbedOptions
            from evenclip.embed.cache import EmbeddingCache
            from evenclip.evaluate.from_model import evaluate_model

            folders = cache or Path(".cache/embeddings"), prompts or Path("config/prompts")
            own, embed_options = (
                model.replace("{seed}", str(number)),
                EmbedOptions.from_arguments(embed_option, "--embed-option"),
            )
            cached = EmbeddingCache(folders[0], own, embed_options)
            document = evaluate_model(
                cached, evaluated_set.folder, name, tasks, folders[1], Path(path), number, options, lexicon
            )
        print(json.dumps(document, indent=1) if as_json else evaluation_table(document))


def _single(values: list[str], flag: str) -> str | None:
    """The only value of a flag; None without one, and `InputError` for several, of which none may be lost."""
    if len(values) > 1:
        what = f"{flag} is given {len(values)} times"
        raise InputError(what, "evaluate", "evaluate one after the other, each with its own --out")
    return values[0] if values else None


def _refuse(given: dict[str, Any], beside: str) -> None:
    """`InputError` for a flag that would be ignored."""
    for flag, value in given.items():
        if value:
            raise InputError(f"{flag} has no effect beside {beside}", "evaluate", "leave it out")


TABLE_HEADER = ("metric", "group", "value", "95 % interval", "random", "n")


def evaluation_table(document: Mapping[str, Any]) -> str:
    """A plain-text table of an evaluation's metrics, those about people first.

    A group that is too small for a number has the value "insufficient".
    """
    parts = []
    for title, people in (("about people", True), ("not about people", False)):
        rows = [_cells(row) for row in document["metrics"] if row["people"] == people]
        if rows:
            parts.append("\n".join([title, *_aligned([TABLE_HEADER, *rows])]))
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = "" if row["ci_low"] is None else f"[{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
    value = "insufficient" if row["value"] is None else f"{row['value']:.4f}"
    random = "" if row["random"] is None else f"{row['random']:.4f}"
    return row["metric"], row["group"].removesuffix(" (insufficient)"), value, interval, random, str(row["n"])


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE_HEADER))]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        padded += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield f"  {'  '.join(padded)}"


@app.command(
    rich_help_panel=MEASURING,
    epilog="Example: evenclip vqa --model model/ --train q/train=d/train --test q/test=d/test --name mine --out a.json",
)
def vqa(
    model: Annotated[str, typer.Option(help="An evenclip run folder, an open_clip name:tag, or a checkpoint.")],
    train: Annotated[str, typer.Option(metavar="QUESTIONS=DATA", help="Questions to train on, and their pictures.")],
    test: Annotated[str, typer.Option(metavar="QUESTIONS=DATA", help="Questions to measure on, and their pictures.")],
    name: Annotated[str, typer.Option(help="Name of the test set in the metrics, e.g. world_mixed.")],
    out: OutFile,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Train an answer head for questions about pictures, with frozen towers; measures the official soft accuracy."""
    from evenclip.vqa import QuestionSet, VqaOptions, answer_questions

    sets = QuestionSet.from_argument(train, "--train"), QuestionSet.from_argument(test, "--test")
    answer_questions(model, *sets, name, out, seed, VqaOptions.from_arguments(option))


@app.command(
    rich_help_panel=MEASURING,
    epilog="Example: evenclip links --model model/ --graph graph/ --data data/mine/train --name mine --out links.json",
)
def links(
    model: Annotated[str, typer.Option(help="A run folder that was trained with knowledge.")],
    graph: Annotated[Path, typer.Option(help="Folder of `evenclip graph`, whose held-out triples are predicted.")],
    data: Annotated[Path, typer.Option(help="Folder of image-text shards that the graph is about.")],
    name: Annotated[str, typer.Option(help="Name of the graph in the metrics, e.g. world.")],
    out: OutFile,
    seed: Seed = 0,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Predict held-out triples of a graph, as texts and as pictures: filtered MRR (mean reciprocal rank) and Hits@k."""
    from evenclip.links import LinkOptions, predict_links

    predict_links(model, graph, data, name, out, seed, LinkOptions.from_arguments(option))
