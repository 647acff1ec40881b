"""Reader of a study's results folder, for the report, the cards and the tracker.

Reads `study.json`, `summary.csv`, `tests.csv` and `claims.json` (of `evenclip summarize`) and, for each run, strategy
and label file that they name, the manifests, histories and metrics of earlier stages.
"""

import fnmatch
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa

from evenclip import documents
from evenclip.digests import sha256_file
from evenclip.errors import InputError
from evenclip.stage_outputs import AGAIN, balanced_labels, read_bytes, read_document, read_history, study_fingerprint
from evenclip.tables import read_table

SUMMARY_COLUMNS = (
    "run", "strategy", "metric", "group", "mean", "ci_low", "ci_high", "interval", "n_seeds", "n", "random", "floor",
    "people",
)  # fmt: skip
TESTS_COLUMNS = (
    "metric", "run_a", "run_b", "p", "p_holm", "effect", "ci_low", "ci_high", "p_t_holm", "detectable", "n",
)  # fmt: skip
SUMMARIZE, REPORT = "run `evenclip summarize` again", "run `evenclip report` again"


@dataclass(frozen=True)
class RunResult:
    """A run (row of the ablation sheet) measured on ``sets``; ``options`` has those that differ between runs."""

    name: str
    strategy: str
    seeds: tuple[int, ...]
    options: dict[str, Any]
    sets: tuple[str, ...]
    mark: str | None = None
    """Warning that the run's association bias is lowered by not knowing the labels (`evenclip.summarize`)."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval and chance level; NaN = no value."""

    mean: float
    ci_low: float
    ci_high: float
    random: float = math.nan

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Create from a metric row of one seed, or from an estimate of `evenclip.balance.audit`."""
        values = (row.get(name) for name in ("value", "ci_low", "ci_high", "random"))
        return cls(*(math.nan if value is None else value for value in values))


class StudyResults:
    """Content of `results/<study>/`; files are read and checked on first use.

    Every file that `evenclip summarize` read or wrote must be unchanged: study.json has their digests and its own
    fingerprint. An `InputError` names a file that is missing, changed or half written.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._documents: dict[str, Any] = {}
        self._digests: dict[str, str] = {}
        self._checked: set[Path] = set()
        document = self._read_json("study.json", documents.Study)
        if document["fingerprint"] != study_fingerprint(document):
            raise InputError("was changed by hand or in part", str(self.folder / "study.json"), SUMMARIZE)
        self.name: str = document["study"]
        self._digests = document["files"]
        self._n_rows = {run["run"]: run["rows"] for run in document["runs"]}
        self.runs = [
            RunResult(
                run["run"], run["strategy"], tuple(run["seeds"]), run["options"], tuple(run["sets"]), run.get("mark")
            )
            for run in document["runs"]
        ]

    def run_title(self, name: str) -> str:
        """Name of a run for people: a first run called `none` is the baseline."""
        names = [run.name for run in self.runs]
        return "baseline" if name == names[0] == "none" and "baseline" not in names else name

    @cached_property
    def people(self) -> frozenset[str]:
        """Metrics about people."""
        return frozenset(self.summary["metric"][self.summary["people"].astype(bool)])

    def measured(self, pattern: str) -> list[str]:
        """Metrics that match e.g. `bias/*/rb` and have a value for some run, in the order of summary.csv."""
        table = self.summary[(self.summary["group"] == "") & self.summary["mean"].notna()]
        return [metric for metric in dict.fromkeys(table["metric"]) if fnmatch.fnmatchcase(metric, pattern)]

    def chance(self, metric: str) -> float | None:
        """Chance level of a metric: that of the first run that has it; None without one."""
        estimates = (self.estimate(run.name, metric) for run in self.runs)
        return next((e.random for e in estimates if e and math.isfinite(e.random)), None)

    def floor(self, metric: str) -> float | None:
        """What models of unbiased data score (the null study's mean); None if the study names no null study."""
        table = self.summary[(self.summary["metric"] == metric) & (self.summary["group"] == "")]
        return next((float(value) for value in table["floor"].dropna()), None)

    def difference(self, run: str, metric: str) -> Estimate | None:
        """Mean difference of a run from the first one, with its interval; None if it was not compared."""
        return self._differences.get((run, metric))

    @cached_property
    def _differences(self) -> dict[tuple[str, str], Estimate]:
        table = self.tests[self.tests["run_a"] == self.runs[0].name]
        values = table[["effect", "ci_low", "ci_high"]].astype(float).itertuples(index=False)
        return {
            (run, metric): Estimate(*row)
            for run, metric, row in zip(table["run_b"], table["metric"], values, strict=True)
        }

    @cached_property
    def summary(self) -> pd.DataFrame:
        """summary.csv: one row per run, metric and group; ``group`` is '' for all examples."""
        return self._read_csv("summary.csv", SUMMARY_COLUMNS, self._n_rows)

    @cached_property
    def tests(self) -> pd.DataFrame:
        """tests.csv: one row per metric and pair of runs; may have no rows."""
        return self._read_csv("tests.csv", TESTS_COLUMNS)

    @property
    def claims(self) -> list[dict[str, Any]]:
        """claims.json: verdicts on the claims (`evenclip.summarize.verdicts.judge`)."""
        return self._read_json("claims.json", documents.Claims)

    @cached_property
    def strategies(self) -> dict[str, dict[str, Any]]:
        """Certificate (report.json) of every strategy in use, in the order of the runs."""
        names = dict.fromkeys(run.strategy for run in self.runs)
        return {name: self._read_json(f"balance/{name}/report.json", documents.Certificate) for name in names}

    @cached_property
    def labels(self) -> dict[str, dict[str, Any]]:
        """Manifest of every labelled data set, with counts and examples."""
        names = sorted(name for name in self._digests if name.startswith("label/"))
        return {Path(name).stem: self._read_json(name, documents.LabelManifest) for name in names}

    @cached_property
    def graph(self) -> dict[str, Any] | None:
        """Statistics of the knowledge graph; None if the study has none."""
        if not (self.folder / "graph").is_dir():
            return None
        return self._read_json("graph/graph.json", documents.GraphStatistics)

    def label_table(self, dataset: str) -> Path:
        """Path of a labelled data set's table, which must be the one that the strategies balanced."""
        path = self.folder / "label" / f"{dataset}.parquet"
        inputs = [self.balance_manifest(strategy)["inputs"] for strategy in self.strategies]
        self._check_input(path, [named["labels"] for named in inputs if "labels" in named])
        return path

    def balance_manifest(self, strategy: str) -> dict[str, Any]:
        """Manifest of a strategy's weights."""
        return self._read_json(f"balance/{strategy}/manifest.json", documents.BalanceManifest)

    def balanced_labels(self, strategy: str) -> Path:
        """Path of the labels table that a strategy balanced."""
        return self.label_table(balanced_labels(self.balance_manifest(strategy), self.folder))

    def weights(self, strategy: str) -> Path:
        """Path of a strategy's weights, which must be those that its runs were trained with."""
        path = self.folder / "balance" / strategy / "weights.parquet"
        trainings = [self.training(run.name, run.seeds[0]) for run in self.runs if run.strategy == strategy]
        self._check_input(path, [manifest["inputs"]["weights"] for manifest in trainings])
        return path

    def _check_input(self, path: Path, inputs: list[dict[str, str]]) -> None:
        """Raise `InputError` if a stage recorded another digest for a file that it read."""
        digests = {entry["sha256"] for entry in inputs if Path(entry["path"]).name == path.name}
        if path in self._checked or not digests:
            return
        if not path.is_file():
            raise InputError("no such file", str(path), "run the stages before this one")
        if digests != {sha256_file(path)}:
            raise InputError("is not the file that later stages read", str(path), AGAIN)
        self._checked.add(path)

    def training(self, run: str, seed: int) -> dict[str, Any]:
        """Manifest of a training."""
        return self._read_json(f"train/{run}/seed{seed}/manifest.json", documents.TrainingManifest)

    def history(self, run: str, seed: int) -> pd.DataFrame:
        """Training curve: one row per logged step, with columns step, samples_seen, loss, ..."""
        name = f"train/{run}/seed{seed}/history.parquet"
        self.content(name)
        return read_history(self.folder / name).to_pandas()

    def record(self, run: str, seed: int, name: str, columns: Sequence[str]) -> pd.DataFrame | None:
        """Optional table of a training, e.g. `negatives`, with ``columns``; None if the run has none."""
        path = self.folder / "train" / run / f"seed{seed}" / f"{name}.parquet"
        return read_table(path, list(columns)).to_pandas() if path.is_file() else None

    def evaluations(self, run: str, seed: int) -> dict[str, dict[str, Any]]:
        """Manifest and metrics of each evaluated set of a run, by name."""
        sets = next(result.sets for result in self.runs if result.name == run)
        return {name: self._read_json(f"evaluate/{run}/seed{seed}/{name}.json", documents.Evaluation) for name in sets}

    def metrics(self, run: str, seed: int) -> list[dict[str, Any]]:
        """All metric rows (`evenclip.tables.MetricRow`) of one run and seed."""
        return [row for document in self.evaluations(run, seed).values() for row in document["metrics"]]

    def card(self, run: str) -> dict[str, Any]:
        """The bias card of a run (`evenclip card`)."""
        return self._read_json(f"card/{run}/card.json", documents.CardIdentity)

    @cached_property
    def page(self) -> str | None:
        """Page of the report; None if no report was written."""
        if self._figures is None:
            return None
        return read_bytes(self.folder / "report.html", self._figures["page"]).decode()

    @property
    def figures(self) -> dict[str, bytes]:
        """Figures of the report by path; {} if no report was written."""
        digests = self._figures["figures"] if self._figures else {}
        return {
            f"figures/{name}": read_bytes(self.folder / "figures" / name, digest)
            for name, digest in sorted(digests.items())
        }

    @cached_property
    def _figures(self) -> dict[str, Any] | None:
        if not any((self.folder / name).exists() for name in ("report.html", "figures")):
            return None
        index = self._read_json("figures/figures.json", documents.Figures)
        if unlisted := {path.name for path in (self.folder / "figures").glob("*.svg")} - index["figures"].keys():
            raise InputError(f"does not list {min(unlisted)}", str(self.folder / "figures/figures.json"), REPORT)
        return index

    def graph_table(self, name: str, columns: Sequence[str]) -> pa.Table:
        """A table of the knowledge graph, as `evenclip graph` wrote it."""
        path = self.folder / "graph" / f"{name}.parquet"
        digests = self._read_json("graph/manifest.json", documents.GraphManifest)["sha256"]
        read_bytes(path, digests.get(name))
        return read_table(path, list(columns))

    def estimate(self, run: str, metric: str) -> Estimate | None:
        """A metric of a run over all examples; None if it was not measured or is undefined."""
        return self._estimates.get((run, metric))

    @cached_property
    def _estimates(self) -> dict[tuple[str, str], Estimate]:
        """Metrics over all examples by run and metric, where they are defined."""
        table = self.summary[self.summary["group"] == ""].drop_duplicates(["run", "metric"])
        values = table[["mean", "ci_low", "ci_high", "random"]].astype(float).itertuples(index=False)
        rows = zip(table["run"], table["metric"], values, strict=True)
        return {(run, metric): Estimate(*row) for run, metric, row in rows if math.isfinite(row.mean)}

    def seed_estimate(self, run: str, seed: int, metric: str) -> Estimate | None:
        """A metric of one seed over all examples; None if it was not measured or is undefined."""
        rows = (row for row in self.metrics(run, seed) if row["metric"] == metric and not row["group"])
        row = next(rows, None)
        return None if row is None or row["value"] is None else Estimate.from_row(row)

    def content(self, name: str) -> bytes:
        """Bytes of a file in the folder, checked against the digest in study.json if it has one."""
        return read_bytes(self.folder / name, self._digests.get(name))

    def _read_json(self, name: str, model: type[documents.Document]) -> Any:
        if name not in self._documents:
            self._documents[name] = read_document(self.folder / name, model, self._digests.get(name))
        return self._documents[name]

    def _read_csv(self, name: str, columns: tuple[str, ...], n_rows: dict[str, int] | None = None) -> pd.DataFrame:
        """Read and check a table; ``n_rows`` is the expected number of rows of each run."""
        path = self.folder / name
        text = dict.fromkeys(("run", "strategy", "metric", "group", "interval", "run_a", "run_b"), str)
        content = read_bytes(path)
        try:
            # a run may be called "none" and a group "NA": only an empty cell is a missing value
            table = pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False, na_values=[""])
        except ValueError as error:
            reason = " ".join(str(error).split())  # pandas breaks some messages over lines
            raise InputError(f"not a readable CSV file ({reason})", str(path), SUMMARIZE) from None
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise InputError(f"column {', '.join(missing)} is missing", str(path), SUMMARIZE)
        for run, n in (n_rows or {}).items():
            if (here := int((table["run"] == run).sum())) != n:
                raise InputError(f"has {here} of the {n} rows of run '{run}'", str(path), SUMMARIZE)
        self.content(name)
        return table.fillna({column: "" for column in text if column in table.columns})
