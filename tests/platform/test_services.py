"""Tracking with an MLflow server on PostgreSQL whose artifacts lie in an S3 store, and what befalls such a server."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evenclip.card import write_study_cards
from evenclip.report import write_report
from evenclip.summarize import summarize_study
from evenclip.track import live
from support.example_study import CLAIMS, SEEDS, STRATEGIES, write_example_study
from support.live_training import check_live_training
from support.services import Services

pytestmark = pytest.mark.platform
N_RUNS = 1 + len(STRATEGIES) * (1 + len(SEEDS))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Results folder of a made-up study with a name of its own."""
    root = tmp_path_factory.mktemp("studies")
    write_example_study(root)

    def named(name: str) -> Path:
        results = root / "results" / name
        shutil.copytree(root / "results/demo", results)
        summarize_study(results, list(STRATEGIES), list(SEEDS), claims=CLAIMS)
        write_study_cards(results, results / "card")
        write_report(results, results / "report.html")
        return results

    return named


def start_sync(results: Path, uri: str) -> subprocess.Popen:
    """Start `evenclip track sync`, which gives a silent server up soon."""
    command = [sys.executable, "-m", "evenclip", "track", "sync", "--results", results, "--tracking-uri", uri]
    environment = os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, text=True, cwd=results.parent.parent, **pipes)


def runs_of(services: Services, study: str) -> Counter[str]:
    """Finished runs of a study, by their key."""
    client = MlflowClient(services.uri)
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return Counter(run.data.tags["evenclip.key"] for run in runs if "evenclip.fingerprint" in run.data.tags)


def check_complete(services: Services, study: str) -> None:
    runs = runs_of(services, study)
    assert len(runs) == N_RUNS and set(runs.values()) == {1}, runs


def test_two_studies_at_once_are_both_complete(services: Services, studies):
    syncs = {name: start_sync(studies(name), services.uri) for name in ("first", "second")}
    for name, sync in syncs.items():
        output, _ = sync.communicate(timeout=900)
        assert sync.returncode == 0, output
        check_complete(services, name)
    assert services.artifacts() > 2 * N_RUNS


def test_an_outage_in_the_middle_of_a_sync_is_mended_by_the_next(services: Services, studies):
    results = studies("outage")
    sync = start_sync(results, services.uri)
    killed = threading.Event()
    deadline = time.monotonic() + 600
    while not killed.is_set() and time.monotonic() < deadline and sync.poll() is None:
        if len(runs_of(services, "outage")) >= 2:
            services.kill_mlflow()
            killed.set()
    output, _ = sync.communicate(timeout=600)
    assert killed.is_set() and sync.returncode == 2, output
    assert "Traceback" not in output and "sync again" in output, output
    services.start_mlflow()
    assert len(runs_of(services, "outage")) < N_RUNS
    again, _ = (sync := start_sync(results, services.uri)).communicate(timeout=900)
    assert sync.returncode == 0, again
    check_complete(services, "outage")


def test_a_live_training_outlives_its_server(services: Services, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "RETRY_EVERY_S", 0.5)
    monkeypatch.setattr(live, "MAX_CLOSING_S", 120.0)

    def lose() -> None:
        time.sleep(3)  # so that some points are there
        services.kill_mlflow()

    check_live_training(tmp_path, services.uri, lose, services.start_mlflow)


def test_a_store_of_an_older_mlflow_is_migrated(services: Services, studies, tmp_path):
    database = tmp_path / "older.db"
    services.make_older_store(f"sqlite:///{database}")
    before = schema_version(database)
    sync = start_sync(studies("migrated"), f"sqlite:///{database}")
    output, _ = sync.communicate(timeout=600)
    assert sync.returncode == 0, output
    assert schema_version(database) != before
    names = [experiment.name for experiment in MlflowClient(f"sqlite:///{database}").search_experiments()]
    assert {"older", "migrated"} <= set(names)


def test_a_store_that_is_not_migrated_is_refused_by_name(services: Services, studies, tmp_path):
    results, database = studies("refused"), tmp_path / "refused.db"
    uri = f"sqlite:///{database}"
    services.mlflow("db", "upgrade", uri)
    with closing(sqlite3.connect(database)) as connection:
        (current,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = ?", (services.version_before(current),))
        connection.commit()
    sync = start_sync(results, uri)
    output, _ = sync.communicate(timeout=600)
    assert sync.returncode == 2 and "Traceback" not in output, output
    assert "another version of MLflow made it" in output and f"mlflow db upgrade {uri}" in output.replace("\n", " ")


def schema_version(database: Path) -> str:
    """Version of the tables of an SQLite store."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
