"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from evenclip.errors import InputError

OWN_DATA, TRAINING, MEASURING, STUDY = "Balance your data", "Train a model", "Measure a model", "Run studies"
"""Panels of `evenclip --help`."""

OptionPairs = Annotated[
    list[str],
    typer.Option("--option", metavar="KEY=VALUE", help="An option of this stage, as in the study file; repeat."),
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write; replaced as a whole.")]
OutFile = Annotated[Path, typer.Option("--out", help="File to write.")]
Seed = Annotated[int, typer.Option("--seed", help="Random seed; results are deterministic given it.")]
Seeds = Annotated[
    list[int], typer.Option("--seed", help="Random seed; results are deterministic given it. Repeat for several.")
]
SeedFolder = Annotated[str, typer.Option("--out", help="Folder to write, replaced as a whole; {seed} = the seed.")]
SeedFile = Annotated[str, typer.Option("--out", help="File to write; {seed} = the seed.")]


def of_seeds(template: str, seeds: list[int], where: str) -> dict[int, str]:
    """The path of each seed: ``template`` with the seed in place of ``{seed}``; `InputError` if two are one."""
    paths = {seed: template.replace("{seed}", str(seed)) for seed in seeds}
    if len(set(paths.values())) < len(seeds):
        raise InputError(f"{len(seeds)} seeds share one path", where, "write {seed} into it, and each seed once")
    return paths
