"""Built-in suites: ready-made lists of tasks for known data sets.

Reads `config/suites.yaml`: for each data set its folder below `data/` and its named lists of tasks.
"""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from evenclip.errors import InputError
from evenclip.evaluate.options import Task
from evenclip.options import Options, read_yaml

SUITES = Path("config/suites.yaml")
DATA = Path("data")


class DatasetSuites(Options):
    """Suites of one data set."""

    data: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*/\w+$")]
    """`<dataset>/<split>`: data folder below `data/`."""
    suites: Annotated[dict[str, list[Task]], Field(min_length=1)]
    """Lists of tasks by the name of the suite: `quality`, `bias`, ..."""


class Suites(Options):
    """All built-in suites."""

    datasets: dict[str, DatasetSuites]
    """Data sets by their name in the metrics."""


@dataclass(frozen=True)
class EvaluatedSet:
    """A set to evaluate: its name in the metrics, its data folder and its suites ({} for an unknown data set)."""

    name: str
    folder: Path
    suites: dict[str, list[Task]]

    def tasks(self, names: list[str]) -> list[Task]:
        """Tasks of the suites ``names`` (default: all); `InputError` for an unknown one."""
        if not self.suites:
            raise InputError("it has no built-in suite", str(self.folder), f"give --task, or add it to {SUITES}")
        for name in names:
            if name not in self.suites:
                raise InputError(f"'{self.name}' has no suite '{name}'", "--suite", f"it has: {', '.join(self.suites)}")
        return [task for name in names or self.suites for task in self.suites[name]]


def read_suites(path: str | os.PathLike = SUITES) -> Suites:
    """Read and check a file of suites; `InputError` if it is missing, as it is outside a checkout."""
    if not Path(path).is_file():
        hint = f"give --suites CHECKOUT/{SUITES}, or run in a checkout of evenclip, or give a data folder and --task"
        raise InputError("no such file of suites", str(path), hint)
    values = read_yaml(path)
    return Suites.parse(values if isinstance(values, dict) else {"datasets": values}, str(path))


def find_set(dataset: str, suites: Suites) -> EvaluatedSet:
    """Find the set that ``dataset`` names: a data set in ``suites``, or a data folder.

    Raises
    ------
    InputError
        It is neither, or the data folder of a known data set is missing.
    """
    if dataset in suites.datasets:
        entry = suites.datasets[dataset]
        folder = DATA / entry.data
        if not folder.is_dir():
            hint = "make it with `evenclip data synthesize` or `data fetch` and `data import`, or give its path"
            raise InputError(f"the data folder of '{dataset}' is missing", str(folder), hint)
        return EvaluatedSet(dataset, folder, entry.suites)
    folder = Path(dataset)
    if not folder.is_dir():
        near = difflib.get_close_matches(dataset, suites.datasets, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(suites.datasets)}"
        raise InputError(f"'{dataset}' is neither a data folder nor a data set with suites", "--dataset", hint)
    resolved = folder.resolve()
    for name, entry in suites.datasets.items():
        if entry.data == f"{resolved.parent.name}/{resolved.name}":
            return EvaluatedSet(name, folder, entry.suites)
    parts = (resolved.parent.name, resolved.name) if resolved.name != "all" else (resolved.parent.name,)
    return EvaluatedSet("_".join("".join(c if c.isalnum() else "_" for c in part) for part in parts), folder, {})
