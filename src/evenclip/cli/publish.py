"""`evenclip summarize`, `card`, `report` and `track`: what is made of a finished study."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import MEASURING, STUDY, OptionPairs, OutFile, OutFolder
from evenclip.errors import InputError

app = typer.Typer()
track_app = typer.Typer(no_args_is_help=True, help="Write results to MLflow.")

Results = Annotated[Path, typer.Option(help="Folder of one study, e.g. results/demo.")]


@app.command(
    rich_help_panel=STUDY,
    epilog="Example: evenclip summarize --results results/demo --run none --run m4 --seed 0 --seed 1",
)
def summarize(
    results: Results,
    run: Annotated[list[str], typer.Option("--run", help="Runs to summarize; repeat.")],
    seed: Annotated[list[int], typer.Option("--seed", help="Seeds of each run; repeat.")],
    evaluation_set: Annotated[
        list[str], typer.Option("--set", help="Evaluation sets; repeat. Without: all that are there.")
    ] = [],  # noqa: B006
    claims: Annotated[Path | None, typer.Option(help="File of claims to test on the results.")] = None,
    linking: Annotated[
        list[str], typer.Option("--linking", metavar="RUN", help="Runs with results of `evenclip links`; repeat.")
    ] = [],  # noqa: B006
    look: Annotated[
        list[int] | None, typer.Option("--look", help="Numbers of seeds after which claims are judged; repeat.")
    ] = None,
    primary: Annotated[
        list[str], typer.Option("--primary", metavar="CLAIM=METRIC", help="Primary claims, and what decides them.")
    ] = [],  # noqa: B006
    null_seeds: Annotated[Path | None, typer.Option(help="seeds.csv of a study on data without bias.")] = None,
) -> None:
    """Summarize metrics over seeds, test differences and claims: summary.csv, seeds.csv, tests.csv, claims.json."""
    from evenclip.summarize import summarize_study
    from evenclip.summarize.options import SummarizeOptions

    given = {"primary": dict(entry.partition("=")[::2] for entry in primary)} | ({"looks": look} if look else {})
    options = SummarizeOptions.parse(given, "--look, --primary")
    summarize_study(results, run, seed, evaluation_set, claims, linking, options.looks, null_seeds, options.primary)


@app.command(
    rich_help_panel=STUDY,
    epilog="Example: evenclip report --results results/demo --out report.html",
)
def report(
    results: Results,
    out: OutFile,
    option: OptionPairs = [],  # noqa: B006
) -> None:
    """Draw the study's figures and its self-contained report.html."""
    from evenclip.report import write_report
    from evenclip.report.options import ReportOptions

    write_report(results, out, ReportOptions.from_arguments(option))


@app.command(
    rich_help_panel=MEASURING,
    epilog="Example: evenclip card fairface.json --out card/",
)
def card(
    out: OutFolder,
    evaluations: Annotated[
        list[Path], typer.Argument(metavar="[EVALUATION.json...]", help="Files of `evenclip evaluate`.")
    ] = [],  # noqa: B006
    results: Annotated[Path | None, typer.Option(help="Folder of one study: a card of every run.")] = None,
) -> None:
    """Write bias cards: what was measured of a model, on which data, how precisely, and what was not measured.

    Of evaluations of several models: the card of each, and a comparison of all.
    """
    from evenclip.card import write_evaluation_card, write_study_cards

    if results is not None and evaluations:
        raise InputError("both --results and evaluations are given", "evenclip card", "give one of them")
    if results is not None:
        write_study_cards(results, out)
    else:
        write_evaluation_card(evaluations, out)


@app.command(
    rich_help_panel=STUDY,
    epilog="Example: evenclip plan config/config.yaml",
)
def plan(
    study: Annotated[Path, typer.Argument(help="Study file whose first seeds have been summarized.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
) -> None:
    """Say how many seeds each claim needs for a verdict at 80 % power, and how long that takes on this machine."""
    import json
    from dataclasses import asdict

    from evenclip.study.study import load_study
    from evenclip.summarize.seed_plan import as_table, plan_seeds

    needs = plan_seeds(Path(load_study(study).config.results))
    rows = [{key: None if value != value else value for key, value in asdict(need).items()} for need in needs]
    print(json.dumps(rows, indent=1) if as_json else as_table(needs))


@track_app.command("sync", epilog="Example: evenclip track sync --results results/demo")
def track_sync(
    results: Results,
    tracking_uri: Annotated[str, typer.Option(help="MLflow store.")] = "sqlite:///mlflow.db",
    out: Annotated[Path | None, typer.Option(help="Receipt to write: what was logged, under which run ids.")] = None,
) -> None:
    """Write a study to MLflow, or bring the store up to date with it; results/ stays the truth."""
    from evenclip.track import sync

    sync(results, tracking_uri, out)
