"""A study's results folder, read for the stages that show it: the report and the tracker.

Reads `study.json`, `summary.csv`, `tests.csv` and `claims.json` (of `evenclip summarize`) and, for each run, strategy
and label file that they name, the manifests, histories and metrics of the stages before. Writes nothing.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

from evenclip.errors import InputError
from evenclip.tables import read_table

SUMMARY_COLUMNS = (
    "run",
    "strategy",
    "metric",
    "group",
    "mean",
    "ci_low",
    "ci_high",
    "interval",
    "n_seeds",
    "n",
    "random",
    "people",
)


@dataclass(frozen=True)
class RunResult:
    """One row of the ablation sheet, measured on ``sets``; ``options`` holds what differs between the study's runs."""

    name: str
    strategy: str
    seeds: tuple[int, ...]
    options: dict[str, Any]
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its 95 % interval, and what a model that knows nothing scores; NaN = there is none."""

    mean: float
    ci_low: float
    ci_high: float
    random: float = math.nan

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """From a metric row of one seed, or an estimate of `evenclip.balance.audit`."""
        values = (row.get(name) for name in ("value", "ci_low", "ci_high", "random"))
        return cls(*(math.nan if value is None else value for value in values))


def read_document(path: Path) -> Any:
    """Read a JSON file; `InputError` where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", str(path), "run the stages before this one, up to summarize") from None
    except ValueError as error:
        raise InputError(f"not readable JSON ({error})", str(path), "run the stage that writes it again") from None


class StudyResults:
    """What is in `results/<study>/`; files are read when first asked for, `InputError` names one that is missing."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._documents: dict[str, Any] = {}
        document = self._read_json("study.json")
        self.name: str = document["study"]
        self.runs = [
            RunResult(run["run"], run["strategy"], tuple(run["seeds"]), run["options"], tuple(run["sets"]))
            for run in document["runs"]
        ]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """summary.csv: one row per run, metric and group; ``group`` is '' for all examples."""
        return self._read_csv("summary.csv", SUMMARY_COLUMNS)

    @cached_property
    def tests(self) -> pd.DataFrame:
        """tests.csv: one row per metric and pair of runs; may have no rows."""
        return self._read_csv(
            "tests.csv",
            ("metric", "run_a", "run_b", "p", "p_holm", "effect", "ci_low", "ci_high", "p_t_holm", "detectable", "n"),
        )

    @property
    def claims(self) -> list[dict[str, Any]]:
        """claims.json: what the study says of each claim (`evenclip.summarize.verdicts.judge`)."""
        return self._read_json("claims.json")

    @cached_property
    def strategies(self) -> dict[str, dict[str, Any]]:
        """The certificate (report.json) of every strategy that a run uses, in the order of the runs."""
        names = dict.fromkeys(run.strategy for run in self.runs)
        return {name: self._read_json(f"balance/{name}/report.json") for name in names}

    @cached_property
    def labels(self) -> dict[str, dict[str, Any]]:
        """The manifest, with counts and examples, of every labelled data set."""
        return self._read_folder("label")

    @cached_property
    def graph(self) -> dict[str, Any] | None:
        """Statistics of the knowledge graph; None where the study has none."""
        return self._read_json("graph/graph.json") if (self.folder / "graph" / "graph.json").is_file() else None

    def label_table(self, dataset: str) -> Path:
        """Path of a labelled data set's table."""
        return self.folder / "label" / f"{dataset}.parquet"

    def balance_manifest(self, strategy: str) -> dict[str, Any]:
        """Manifest of a strategy's weights."""
        return self._read_json(f"balance/{strategy}/manifest.json")

    def training(self, run: str, seed: int) -> dict[str, Any]:
        """Manifest of a training."""
        return self._read_json(f"train/{run}/seed{seed}/manifest.json")

    def history(self, run: str, seed: int) -> pd.DataFrame:
        """Training curve: one row per logged step, with columns step, samples_seen, loss, ..."""
        path = self.folder / "train" / run / f"seed{seed}" / "history.parquet"
        return read_table(path).to_pandas().sort_values("step", ignore_index=True)

    def record(self, run: str, seed: int, name: str) -> pd.DataFrame | None:
        """A further table that a training left, e.g. `negatives`; None where the run has none."""
        path = self.folder / "train" / run / f"seed{seed}" / f"{name}.parquet"
        return read_table(path).to_pandas() if path.is_file() else None

    def evaluations(self, run: str, seed: int) -> dict[str, dict[str, Any]]:
        """Manifest and metrics of every set that the run is measured on, by the set's name."""
        sets = next(each.sets for each in self.runs if each.name == run)
        return {name: self._read_json(f"evaluate/{run}/seed{seed}/{name}.json") for name in sets}

    def metrics(self, run: str, seed: int) -> list[dict[str, Any]]:
        """All metric rows (`records.MetricRow`) of one run and seed."""
        return [row for document in self.evaluations(run, seed).values() for row in document["metrics"]]

    def card(self, run: str) -> dict[str, Any]:
        """The bias card of a run (`evenclip card`)."""
        return self._read_json(f"card/{run}/card.json")

    def estimate(self, run: str, metric: str) -> Estimate | None:
        """A metric of a run over all examples; None where it was not measured or is not defined."""
        table = self.summary
        found = table[(table["run"] == run) & (table["metric"] == metric) & (table["group"] == "")]
        if found.empty or not math.isfinite(found["mean"].iloc[0]):
            return None
        return Estimate(*found[["mean", "ci_low", "ci_high", "random"]].iloc[0].astype(float))

    def seed_estimate(self, run: str, seed: int, metric: str) -> Estimate | None:
        """A metric of one seed over all examples; None where it was not measured or is not defined."""
        rows = (row for row in self.metrics(run, seed) if row["metric"] == metric and not row["group"])
        row = next(rows, None)
        return None if row is None or row["value"] is None else Estimate.from_row(row)

    def _read_folder(self, name: str) -> dict[str, dict[str, Any]]:
        paths = sorted((self.folder / name).glob("*.json"))
        return {path.stem: self._read_json(f"{name}/{path.name}") for path in paths}

    def _read_json(self, name: str) -> Any:
        if name not in self._documents:
            self._documents[name] = read_document(self.folder / name)
        return self._documents[name]

    def _read_csv(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        path = self.folder / name
        text = dict.fromkeys(("run", "strategy", "metric", "group", "interval", "run_a", "run_b"), str)
        try:
            # a run may be called "none" and a group "NA": only the empty cell is missing
            table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
        except FileNotFoundError:
            raise InputError("no such file", str(path), "run `evenclip summarize` first") from None
        except (ValueError, UnicodeDecodeError) as error:
            raise InputError(
                f"not a readable CSV file ({error})", str(path), "run `evenclip summarize` again"
            ) from None
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise InputError(f"column {', '.join(missing)} is missing", str(path), "run `evenclip summarize` again")
        return table.fillna({column: "" for column in text if column in table.columns})
