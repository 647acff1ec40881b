"""MLflow store of one study, synchronised with the planned runs. The only module that uses MLflow.

Works offline and quietly: telemetry is off, git is not called, and nothing is printed.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}  # before MLflow is imported

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from evenclip.errors import InputError
from evenclip.track.plan import DataInput, PlannedRun

for chatty in ("mlflow", "alembic"):
    logging.getLogger(chatty).setLevel(logging.WARNING)

SQLITE = "sqlite:///"
KEY_TAG, FINGERPRINT_TAG, PARENT_TAG = "evenclip.key", "evenclip.fingerprint", "mlflow.parentRunId"
METRICS_PER_CALL, RUNS_PER_PAGE = 1000, 1000


@dataclass(frozen=True)
class Change:
    """Result of a synchronisation: keys of the changed runs, and the run ids afterwards."""

    run_ids: dict[str, str]
    created: list[str]
    replaced: list[str]
    removed: list[str]
    registered: list[str]
    versions: dict[str, str]
    """Version of each registered model that matches the plan."""


class StudyStore:
    """Experiment of one study, created if missing."""

    def __init__(self, tracking_uri: str, study: str):
        self._tracking_uri = tracking_uri
        try:
            self.client = connect(tracking_uri)
            self.experiment_id = self._find_experiment(tracking_uri, study)
        except (MlflowException, SQLAlchemyError) as error:
            reason = _reason(error)
            hint = "e.g. sqlite:///mlflow.db, or the http address of a running MLflow server"
            if "out-of-date database schema" in reason:
                reason = "another version of MLflow made it"
                hint = f"copy it, then `mlflow db upgrade {tracking_uri}`; or remove it and sync each study again"
            elif tracking_uri.startswith(SQLITE) and Path(tracking_uri.removeprefix(SQLITE)).exists():
                hint = "remove the file and sync each study again: results/ holds everything"
            raise InputError(f"no usable MLflow store ({reason})", tracking_uri, hint) from None

    def synchronise(self, planned: list[PlannedRun]) -> Change:
        """Create missing runs, replace changed ones, and remove runs that the study no longer has.

        The tag with a run's fingerprint is written last, so a run whose logging was interrupted lacks it and is
        replaced. Replaced and removed runs are marked as deleted, as in MLflow's UI. Runs without our tag are left
        alone.

        Raises
        ------
        InputError
            The store stopped answering; the next synchronisation completes what this one began.
        """
        try:
            return self._synchronise(planned)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            what = f"the MLflow store failed in the middle ({_reason(error)})"
            raise InputError(what, self._tracking_uri, "sync again once it answers: what is complete is kept") from None

    def _synchronise(self, planned: list[PlannedRun]) -> Change:
        fingerprints = {run.key: run.fingerprint for run in planned}
        kept: dict[str, Run] = {}
        stale: list[Run] = []
        for run in self._runs():
            key = run.data.tags[KEY_TAG]
            if key not in kept and run.data.tags.get(FINGERPRINT_TAG) == fingerprints.get(key, ""):
                kept[key] = run
            else:
                stale.append(run)
        run_ids = {key: run.info.run_id for key, run in kept.items()}
        for run in planned:
            parent_id = run_ids[run.parent] if run.parent else None
            if run.key not in kept:
                run_ids[run.key] = self._log(run, parent_id)
            elif kept[run.key].data.tags.get(PARENT_TAG) != parent_id:
                self.client.set_tag(run_ids[run.key], PARENT_TAG, parent_id)
        for run in stale:
            self.client.delete_run(run.info.run_id)
        versions, registered = self._register(planned, run_ids)
        old = {run.data.tags[KEY_TAG] for run in stale}
        new = [run.key for run in planned if run.key not in kept]
        return Change(
            run_ids={run.key: run_ids[run.key] for run in planned},
            created=[key for key in new if key not in old],
            replaced=[key for key in new if key in old],
            removed=sorted(old - set(run_ids)),
            registered=registered,
            versions=versions,
        )

    def _register(self, planned: list[PlannedRun], run_ids: dict[str, str]) -> tuple[dict[str, str], list[str]]:
        """Register missing model versions; returns the version of each model, and the models with a new version."""
        versions, registered = {}, []
        for run in planned:
            if (model := run.model) is None:
                continue
            present = self.client.search_model_versions(f"name='{model.name}'")
            same = [version for version in present if version.tags.get(FINGERPRINT_TAG) == model.fingerprint]
            if not same:
                if not self.client.search_registered_models(f"name='{model.name}'"):
                    self.client.create_registered_model(model.name, description=f"Run {run.name} of a study.")
                run_id = run_ids[run.key]
                source = f"{self.client.get_run(run_id).info.artifact_uri}/card"
                tags = {FINGERPRINT_TAG: model.fingerprint}
                same = [
                    self.client.create_model_version(model.name, source, run_id, tags, description=model.description)
                ]
                registered.append(model.name)
            versions[model.name] = str(same[0].version)
        return versions, registered

    def _find_experiment(self, tracking_uri: str, study: str) -> str:
        experiment = self.client.get_experiment_by_name(study)
        location = None
        if tracking_uri.startswith(SQLITE):
            database = Path(tracking_uri.removeprefix(SQLITE)).resolve()
            location = (database.parent / "mlartifacts" / study).as_uri()
        if experiment is None:
            return self.client.create_experiment(study, artifact_location=location)
        if location and experiment.artifact_location.startswith("file:") and experiment.artifact_location != location:
            # MLflow cannot change the location of an experiment: new artifacts would go to the old one, or be lost
            raise InputError(
                f"the store was moved: experiment '{study}' keeps its artifacts in {experiment.artifact_location}",
                tracking_uri,
                "remove the store and sync each study again: results/ holds everything",
            )
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _runs(self) -> list[Run]:
        runs, token = [], None
        while True:
            page = self.client.search_runs([self.experiment_id], max_results=RUNS_PER_PAGE, page_token=token)
            runs += [run for run in page if KEY_TAG in run.data.tags]
            token = page.token
            if not token:
                return runs

    def _log(self, planned: PlannedRun, parent_id: str | None) -> str:
        tags = planned.tags | {KEY_TAG: planned.key} | ({PARENT_TAG: parent_id} if parent_id else {})
        run = self.client.create_run(self.experiment_id, planned.started_ms, tags, planned.name)
        run_id = run.info.run_id
        params = [Param(name, value) for name, value in planned.params.items()]
        points = [Metric(point.name, point.value, planned.ended_ms, point.step) for point in planned.metrics]
        self.client.log_batch(run_id, params=params)
        for start in range(0, len(points), METRICS_PER_CALL):
            self.client.log_batch(run_id, metrics=points[start : start + METRICS_PER_CALL])
        if planned.data:
            self.client.log_inputs(run_id, [_dataset_input(entry) for entry in planned.data])
        with tempfile.TemporaryDirectory() as folder:
            for name, content in planned.artifacts.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(run_id, folder)
        self.client.log_batch(run_id, tags=[RunTag(FINGERPRINT_TAG, planned.fingerprint)])
        self.client.set_terminated(run_id, "FINISHED", planned.ended_ms)
        return run_id


def _reason(error: Exception) -> str:
    """First line of an error's message."""
    return next(iter(str(getattr(error, "message", error)).splitlines()), type(error).__name__)


def connect(tracking_uri: str) -> MlflowClient:
    """Client of a store; a missing SQLite store is created."""
    if tracking_uri.startswith(SQLITE):
        initialise(Path(tracking_uri.removeprefix(SQLITE)))
    return MlflowClient(tracking_uri)


def log_rows(client: MlflowClient, run_id: str, rows: list[tuple[int, Mapping[str, float]]]) -> None:
    """Log rows of a training's history, each with its time in ms, as metrics `train/<column>`."""
    points = [
        Metric(f"train/{name}", float(value), at_ms, int(row["step"]))
        for at_ms, row in rows
        for name, value in row.items()
    ]
    for start in range(0, len(points), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=points[start : start + METRICS_PER_CALL])


def initialise(database: Path) -> None:
    """Create a new SQLite store atomically; an existing one is left unchanged.

    MLflow's migrations fail if several processes open a new store at once. They therefore run on a temporary file,
    which is then linked to the store's name unless another process was first.
    """
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=f".{database.name}.") as folder:
        new = Path(folder).resolve() / database.name
        MlflowClient(f"{SQLITE}{new}").search_experiments()
        with contextlib.suppress(FileExistsError):
            os.link(new, database)


def _dataset_input(entry: DataInput) -> DatasetInput:
    source = json.dumps({"uri": entry.path})
    return DatasetInput(
        Dataset(entry.name, entry.digest, source_type="local", source=source),
        [InputTag("mlflow.data.context", entry.context)],
    )
