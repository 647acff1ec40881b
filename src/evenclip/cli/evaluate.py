"""`evenclip embed`, `evenclip evaluate`, `evenclip vqa` and `evenclip links`."""

import itertools
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenclip.cli.arguments import MEASURING, OptionPairs, OutFile, Seed, SeedFile, SeedFolder, Seeds, of_seeds
from evenclip.errors import InputError
from evenclip.plugins import names_of

app = typer.Typer()

Format = Literal["table", "markdown", "json", "csv", "wide"]

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
        list[str],
        typer.Option(
            "--dataset",
            metavar="[NAME=]DATA",
            help="A data set of the suites, or a folder of image-text shards, and its name in the metrics; repeat.",
        ),
    ],
    models: Annotated[
        list[str],
        typer.Option("--model", help="An evenclip run folder, an open_clip name:tag, or a checkpoint; repeat."),
    ] = [],  # noqa: B006
    embeddings: Annotated[
        list[str],
        typer.Option(
            help="Instead of a model: .npz files of `evenclip embed`, or your own; {dataset} = the set's name; repeat."
        ),
    ] = [],  # noqa: B006
    train_embeddings: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]FILE",
            help=".npz of the split that a linear probe trains on, with --embeddings; NAME = of this set only; repeat.",
        ),
    ] = [],  # noqa: B006
    suite: Annotated[list[str], typer.Option(help="Built-in tasks: quality, bias; repeat. Default: all.")] = [],  # noqa: B006
    task: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]KIND:{...}",
            help="A task, e.g. 'zeroshot:{column: object, prompts: objects}'; NAME = on this set only; repeat."
            f" Kinds: {KINDS}.",
        ),
    ] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Name in the metrics of the one --dataset; short for NAME=DATA.")] = "",
    format_: Annotated[
        Format,
        typer.Option("--format", help="What to print; csv: a row for each value, wide: a column for each model."),
    ] = "table",
    lexicon: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]FILE",
            help="Lexicon of the groups that captions name, where the data has no such column; NAME = of this set only;"
            " repeat.",
        ),
    ] = [],  # noqa: B006
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
    """Measure quality and bias of models on data sets, each metric with a bootstrap 95 % interval.

    With several models, data sets or seeds, write {model}, {dataset} or {seed} into --out; {seed} stands for the seed
    in the paths of the model or embeddings too. All results are in one table; `evenclip card` compares the models.
    """
    from evenclip.evaluate import EvaluateOptions, Task, evaluate_set
    from evenclip.evaluate.formats import FORMATS
    from evenclip.evaluate.suites import Suites, find_set, read_suites

    if (not models) == (not embeddings):
        raise InputError("neither or both of --model and --embeddings are given", "evaluate", "give one of them")
    if models:
        _refuse({"--train-embeddings": train_embeddings}, "--model, which embeds its own training split")
    else:
        _refuse({"--embed-option": embed_option, "--prompts": prompts, "--cache": cache}, "--embeddings")
    known_suites = Suites(datasets={})
    if name and len(datasets) > 1:
        what = f"--dataset is given {len(datasets)} times"
        raise InputError(what, f"--name {name}", "name each in its own: --dataset NAME=DATA")
    named = [(name, datasets[0])] if name else [_named(argument) for argument in datasets]
    if suites.exists() or not all(Path(dataset).is_dir() for _, dataset in named):
        known_suites = read_suites(suites)
    sets = {}
    for own_name, dataset in named:
        evaluated = find_set(dataset, known_suites)
        name = own_name or evaluated.name
        if name in sets:
            hint = "give each once, with a name of its own: NAME=DATA"
            raise InputError(f"two data sets are named '{name}'", f"--dataset {dataset}", hint)
        sets[name] = evaluated
    if embeddings and len(sets) > 1 and not any("{dataset}" in template for template in embeddings):
        raise InputError(f"{len(sets)} data sets share the embeddings", "--embeddings", "write {dataset} into the path")
    tasks, lexicons = {}, {}
    for name, evaluated in sets.items():
        tasks[name] = [Task.from_argument(argument) for argument in _of_set(name, task, sets, "--task")]
        if suite or not tasks[name]:
            tasks[name] += evaluated.tasks(suite)
        lexicons[name] = [Path(path) for path in _of_set(name, lexicon, sets, "--lexicon")]
        if len(lexicons[name]) > 1:
            raise InputError(f"{name} has {len(lexicons[name])} lexicons", "--lexicon", "give one of each data set")
    options = EvaluateOptions.from_arguments(option)
    documents = []
    for model, name, number, path in _planned(out, models or [None], [*sets], seed):
        dataset, (own_lexicon,) = sets[name].folder, lexicons[name] or [None]
        with _naming(name):
            if model is None:
                files, train_files = (
                    [Path(template.replace("{dataset}", name).replace("{seed}", str(number))) for template in templates]
                    for templates in (embeddings, _of_set(name, train_embeddings, sets, "--train-embeddings"))
                )
                document = evaluate_set(
                    dataset, files, name, tasks[name], path, number, options, train_files, lexicon=own_lexicon
                )
            else:
                from evenclip.embed import EmbedOptions
                from evenclip.embed.cache import EmbeddingCache
                from evenclip.evaluate.from_model import evaluate_model

                embed_options = EmbedOptions.from_arguments(embed_option, "--embed-option")
                own = model.replace("{seed}", str(number))
                cached = EmbeddingCache(cache or Path(".cache/embeddings"), own, embed_options)
                folder = prompts or Path("config/prompts")
                document = evaluate_model(
                    cached, dataset, name, tasks[name], folder, path, number, options, own_lexicon
                )
        documents.append(document)
    print(FORMATS[format_](documents).rstrip("\n"))


def _named(argument: str) -> tuple[str, str]:
    """Name and value of ``[NAME=]VALUE``; "" where no name is given."""
    name, equals, value = argument.partition("=")
    return (name, value) if equals and name.isidentifier() else ("", argument)


def _of_set(name: str, arguments: list[str], names: Collection[str], flag: str) -> list[str]:
    """Of ``[NAME=]VALUE`` arguments the values for one of the sets ``names``; those without a NAME are for all sets."""
    named = [_named(argument) for argument in arguments]
    if unknown := [own for own, _ in named if own and own not in names]:
        raise InputError(f"no data set '{unknown[0]}' is evaluated", flag, f"name one of {', '.join(names)}")
    return [value for own, value in named if own in ("", name)]


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say on which of the sets the evaluation failed."""
    try:
        yield
    except InputError as error:
        where = f"{name}, {error.where}" if error.where else name
        raise InputError(error.what, where, error.instead) from error
    except Exception as error:
        error.add_note(f"while {name} was evaluated")
        raise


def _planned(
    template: str, models: list[str | None], sets: list[str], seeds: list[int]
) -> list[tuple[str | None, str, int, Path]]:
    """Model, set, seed and output file of each evaluation; `InputError` if two share one file."""
    planned = []
    for model, name in itertools.product(models, sets):
        own = template.replace("{model}", re.sub(r"[^\w.-]+", "_", model or "")).replace("{dataset}", name)
        planned += [(model, name, seed, Path(path)) for seed, path in of_seeds(own, seeds, "--out").items()]
    if len({path for *_, path in planned}) < len(planned):
        needed = " and ".join(f"{{{what}}}" for what, n in (("model", len(models)), ("dataset", len(sets))) if n > 1)
        what = f"{len(planned)} evaluations share one file"
        raise InputError(what, f"--out {template}", f"write {needed or '{model}'} into it, and name each model once")
    return planned


def _refuse(given: dict[str, Any], beside: str) -> None:
    """`InputError` for a flag that would be ignored."""
    for flag, value in given.items():
        if value:
            raise InputError(f"{flag} has no effect beside {beside}", "evaluate", "leave it out")


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
