"""The other stages, from labels to the report, and study files."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import OptionPairs, OutFile, OutFolder, Seed
from evenclip.errors import InputError

app = typer.Typer()
track_app = typer.Typer(no_args_is_help=True, help="Write results to MLflow.")
config_app = typer.Typer(no_args_is_help=True, help="Check study files and write their JSON schema.")
app.add_typer(track_app, name="track")
app.add_typer(config_app, name="config")


@app.command()
def graph(
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="FORMAT=PATH",
            help="Format and file or folder, e.g. conceptnet=a.csv.gz; docs/graph.md lists the formats; repeat.",
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


@app.command()
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
            raise InputError("the image side is incomplete", "label", "--attribute-set, --attribute-data, --attribute")
        annotated = AttributeSet(attribute_set, attribute_data, tuple(attribute))
    options = LabelOptions.from_arguments(option)
    label_dataset(data, lexicon, out, options, embeddings, annotated, Part.from_argument(part))


@app.command("label-gather")
def label_gather(
    parts: Annotated[list[Path], typer.Argument(metavar="PART.parquet...", help="The labels of all parts, in order.")],
    out: OutFile,
) -> None:
    """Join the labels of all parts of a data folder."""
    from evenclip.label.gather import gather_labels

    print(f"{gather_labels(parts, out)} pairs")


@app.command("label-proxies")
def label_proxies(
    labels: Annotated[Path, typer.Argument(metavar="LABELS.parquet", help="Labels table.")],
    data: Annotated[Path, typer.Option(help="Folder of image-text shards that was labelled.")],
    lexicon: Annotated[Path, typer.Option(help="The lexicon it was labelled with.")],
    out: OutFile,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Suggest proxies: words tied to a perceived attribute and to a target, for a person to accept."""
    from evenclip.label.proxies import ProxyOptions, suggest_proxies

    found = suggest_proxies(labels, data, lexicon, out, ProxyOptions.from_arguments(option))
    print(f"{out}: {len(found)} suggestions" + "".join(f", {each.word}" for each in found[:5]))


@app.command()
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


@app.command()
def summarize(
    results: Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")],
    run: Annotated[list[str], typer.Option("--run", help="Runs to summarize; repeat.")],
    seed: Annotated[list[int], typer.Option("--seed", help="Seeds of each run; repeat.")],
    evaluation_set: Annotated[
        list[str], typer.Option("--set", help="Evaluation sets; repeat. Without: all that are there.")
    ] = [],  # noqa: B006
    claims: Annotated[Path | None, typer.Option(help="File of claims to test on the results.")] = None,
    linking: Annotated[
        list[str], typer.Option("--linking", metavar="RUN", help="Runs with results of `evenclip links`; repeat.")
    ] = [],  # noqa: B006
) -> None:
    """Summarize metrics over seeds, test differences and claims: summary.csv, tests.csv, claims.json, study.json."""
    from evenclip.summarize import summarize_study

    summarize_study(results, run, seed, evaluation_set, claims, linking)


@track_app.command("sync")
def track_sync(
    results: Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")],
    tracking_uri: Annotated[str, typer.Option(help="MLflow store.")] = "sqlite:///mlflow.db",
    out: Annotated[Path | None, typer.Option(help="Receipt to write: what was logged, under which run ids.")] = None,
) -> None:
    """Write a study to MLflow, or bring the store up to date with it; results/ stays the truth."""
    from evenclip.track import sync

    sync(results, tracking_uri, out)


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")],
    out: OutFile,
) -> None:
    """Draw the study's figures and its self-contained report.html."""
    from evenclip.report import write_report

    write_report(results, out)


@app.command()
def card(
    out: OutFolder,
    evaluations: Annotated[
        list[Path], typer.Argument(metavar="[EVALUATION.json...]", help="Files of `evenclip evaluate`, of one model.")
    ] = [],  # noqa: B006
    results: Annotated[Path | None, typer.Option(help="Folder of one study: a card of every run.")] = None,
) -> None:
    """Write bias cards: what was measured of a model, on what, how surely, and what was not."""
    from evenclip.card import write_evaluation_card, write_study_cards

    if results is not None and evaluations:
        raise InputError("two things to make cards of", "evenclip card", "give --results or evaluations")
    if results is not None:
        write_study_cards(results, out)
    else:
        write_evaluation_card(evaluations, out)


@app.command()
def doctor() -> None:
    """Examine the installation, and say what to do where something is missing."""
    from evenclip.doctor import examine

    found = list(examine(Path()))
    for fine, sentence in found:
        print(f"{'ok     ' if fine else 'PROBLEM'}  {sentence}")
    if not all(fine for fine, _ in found):
        raise typer.Exit(1)


@config_app.command("check")
def config_check(study: Path) -> None:
    """Check a study file and list its runs."""
    from evenclip.study.study import load_study

    for run in load_study(study).runs.values():
        print(f"{run.name}\tstrategy={run.strategy}\t{' '.join(f'{k}={v}' for k, v in run.overrides.items())}".rstrip())


@config_app.command("schema")
def config_schema(out: OutFile = Path("workflow/schemas/config.schema.json")) -> None:
    """Write the JSON schema of study files, generated from the option blocks."""
    from evenclip.provenance import write_json
    from evenclip.study.schema import StudyConfig

    write_json(StudyConfig.model_json_schema(), out)
