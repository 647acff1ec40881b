"""The `evenclip` command: one sub-command per stage, each of which works alone, without Snakemake.

Exit status: 0 = done, 2 = wrong input, a missing extra or a place that cannot be written (one message, no traceback),
1 = a fault of ours. Stages are imported inside their command, so that `evenclip balance` never loads torch.
"""

import atexit
import gc
import sys
from typing import Annotated

import typer

from evenclip import __version__
from evenclip.cli import balance, data, evaluate, export, graph, label, model, publish, study, train
from evenclip.cli.arguments import OWN_DATA, STUDY, TRAINING
from evenclip.errors import InputError
from evenclip.extras import missing_extra
from evenclip.provenance import writing_error

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.split("\n")[0],
    epilog="Example: evenclip balance photos.csv --key photo --attribute gender --label nurse --out balanced/",
)  # fmt: skip
app.add_typer(study.init_app)
app.add_typer(data.app, name="data", rich_help_panel=OWN_DATA)
app.add_typer(model.app, name="model", rich_help_panel=TRAINING)
app.add_typer(study.config_app, name="config", rich_help_panel=STUDY)
app.add_typer(publish.track_app, name="track", rich_help_panel=STUDY)
for family in (label, balance, export, graph, train, evaluate, publish, study):
    app.add_typer(family.app)


INTERRUPTED = 130
KEPT = "interrupted: outputs appear only when they are complete; the same command starts again, a training goes on"
"""What Ctrl-C says."""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"evenclip {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Entry point: errors that the user can correct become one message and exit status 2; Ctrl-C, 130."""
    atexit.register(_spare_last_collection)
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print(KEPT, file=sys.stderr)
        raise
    except InputError as error:
        _exit(error)
    except ModuleNotFoundError as error:
        _exit(missing_extra(error), error)
    except OSError as error:
        _exit(writing_error(error), error)


def _spare_last_collection() -> None:
    """Keep the interpreter from a search for garbage in all that was imported, a seventh of a short command's time."""
    if "triton" not in sys.modules:  # it reports as leaks what is not collected
        gc.freeze()


def _exit(message: InputError | None, error: Exception | None = None) -> None:
    """Print the message and exit; raise ``error`` where there is none."""
    if message is None:
        raise error
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
