"""The `evenclip` command: one sub-command per stage, each of which works alone, without Snakemake.

Exit status: 0 = done, 2 = the user's input is wrong (one message, no traceback), 1 = a fault of ours.
Stages are imported inside their command, so that `evenclip balance` never loads torch.
"""

import sys

import typer

from evenclip.cli import balance, data, evaluate, stages
from evenclip.errors import InputError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split("\n")[0]
)
app.add_typer(data.app, name="data")
app.add_typer(balance.app)
app.add_typer(evaluate.app)
app.add_typer(stages.app)


def main() -> None:
    """Entry point: turns `InputError` into one message and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
