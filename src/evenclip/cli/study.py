"""`evenclip config`, `verify` and `doctor`: study files, whether results are as written, and the installation."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.cli.arguments import STUDY, OutFile

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="Check study files and write their JSON schema.")


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
    """Examine the installation, and say what to do where something is missing."""
    from evenclip.doctor import examine

    findings = list(examine(Path()))
    for fine, sentence in findings:
        print(f"{'ok     ' if fine else 'PROBLEM'}  {sentence}")
    if not all(fine for fine, _ in findings):
        raise typer.Exit(1)
