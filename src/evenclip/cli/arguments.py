"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

OptionPairs = Annotated[
    list[str],
    typer.Option("--option", metavar="KEY=VALUE", help="An option of this stage, as in the study file; repeat."),
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write; replaced as a whole.")]
OutFile = Annotated[Path, typer.Option("--out", help="File to write.")]
Seed = Annotated[int, typer.Option("--seed", help="Random seed; results are deterministic given it.")]
