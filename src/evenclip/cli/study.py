"""`evenclip init`, `config`, `verify` and `doctor`: study files, whether results are intact, and the installation."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import OWN_DATA, STUDY, OutFile

app, init_app = typer.Typer(), typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="Check study files and write their JSON schema.")


@init_app.command(
    rich_help_panel=OWN_DATA,
    epilog="Example: evenclip init photos/ --captions captions.csv --attribute gender",
)
def init(
    source: Annotated[Path, typer.Argument(help="Images and captions: a folder, tars, a zip or Parquet files.")],
    captions: Annotated[Path | None, typer.Option(help="CSV, TSV, JSON lines or Parquet, anywhere.")] = None,
    attribute: Annotated[
        list[str], typer.Option(metavar="NAME", help="Perceived groups: a column, or a name of the lexicon; repeat.")
    ] = [],  # noqa: B006
    label: Annotated[
        list[str], typer.Option(metavar="NAME", help="A label: a column, or a word of the captions; repeat.")
    ] = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="Folder to write. Default: studies/NAME.")] = None,
) -> None:
    """Look at your data and write a study of it that runs as it is; overwrites nothing."""
    from evenclip.study.init import init_study

    print("\n".join(init_study(source, captions, attribute, label, output)))


@config_app.command("check", epilog="Example: evenclip config check config/config.yaml")
def config_check(study: Annotated[Path, typer.Argument(help="Study file.")]) -> None:
    """Check a study file and list its runs."""
    from evenclip.study.study import load_study

    for run in load_study(study).runs.values():
        print(f"{run.name}\tstrategy={run.strategy}\t{' '.join(f'{k}={v}' for k, v in run.overrides.items())}".rstrip())


@config_app.command("schema", epilog="Example: evenclip config schema --out study.schema.json")
def config_schema(out: OutFile = Path("workflow/schemas/config.schema.json")) -> None:
    """Write the JSON schema of study files, generated from the option blocks."""
    from evenclip.provenance import write_json
    from evenclip.study.schema import StudyConfig

    write_json(StudyConfig.model_json_schema(), out)


@app.command(
    rich_help_panel=STUDY,
    epilog="Example: evenclip verify results/demo",
)
def verify(
    path: Annotated[Path, typer.Argument(help="A data folder, a stage's output, a study's results, or a checkout.")],
    fast: Annotated[bool, typer.Option("--fast", help="Compare sizes alone, without reading the files.")] = False,
) -> None:
    """Compare files with the manifests, study.json and dvc.lock that were written with them; name what differs."""
    from evenclip.verify import verify as verify_path

    print(f"{path}: {verify_path(path, fast).summary()}")


@app.command(
    rich_help_panel=STUDY,
    epilog="Example: evenclip doctor",
)
def doctor() -> None:
    """Examine the installation, and say what to do if something is missing."""
    from evenclip.doctor import examine

    findings = list(examine(Path()))
    for fine, sentence in findings:
        print(f"{'ok     ' if fine else 'PROBLEM'}  {sentence}")
    if not all(fine for fine, _ in findings):
        raise typer.Exit(1)
