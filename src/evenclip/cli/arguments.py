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
PartsFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with 1.parquet, 2.parquet, ...")]
NParts = Annotated[int, typer.Option("--parts", min=1, help="Number of parts, the files of DIR that are read.")]


def part_files(folder: Path, n_parts: int) -> list[Path]:
    """Files of a scattered stage's parts, by number: a command line could not hold the names of many thousands."""
    return [folder / f"{number}.parquet" for number in range(1, n_parts + 1)]


def of_seeds(template: str, seeds: list[int], where: str) -> dict[int, str]:
    """The path of each seed: ``template`` with the seed in place of ``{seed}``; `InputError` if two are one."""
    paths = {seed: template.replace("{seed}", str(seed)) for seed in seeds}
    if len(set(paths.values())) < len(seeds):
        raise InputError(f"{len(seeds)} seeds share one path", where, "write {seed} into it, and each seed once")
    return paths
