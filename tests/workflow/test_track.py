"""The tracker against a real MLflow store (SQLite) in a temporary folder."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from evenclip.errors import InputError
from evenclip.report import write_report
from evenclip.results import StudyResults
from evenclip.track import sync
from evenclip.track.plan import metric_name, plan_study, thin
from support.example_study import SEEDS, STRATEGIES, example_metrics, seal, sign

pytestmark = pytest.mark.workflow
KEYS = {"report", *STRATEGIES, *(f"{name}/seed{seed}" for name in STRATEGIES for seed in SEEDS)}


@pytest.fixture(scope="session")
def reported(example_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up study with its report, and an empty store: both take seconds to make."""
    from evenclip.track.store import initialise

    root = tmp_path_factory.mktemp("reported")
    shutil.copytree(example_root, root, dirs_exist_ok=True)
    write_report(root / "results" / "demo", root / "results" / "demo" / "report.html")
    initialise(root / "store" / "mlflow.db")
    return root


@pytest.fixture
def study_folder(reported: Path, tmp_path: Path) -> Path:
    """A copy of the study's results folder that a test may change."""
    shutil.copytree(reported / "results", tmp_path / "results")
    return tmp_path / "results" / "demo"


@pytest.fixture
def uri(reported: Path, tmp_path: Path) -> str:
    shutil.copytree(reported / "store", tmp_path / "store")
    return f"sqlite:///{tmp_path}/store/mlflow.db"


def runs_of(uri: str) -> dict[str, object]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert max(Counter(run.data.tags["evenclip.key"] for run in runs).values()) == 1
    return {run.data.tags["evenclip.key"]: run for run in runs}


def receipt(study_folder: Path, uri: str) -> dict[str, str]:
    sync(study_folder, uri, study_folder / "track.json")
    return json.loads((study_folder / "track.json").read_text())["runs"]


def test_a_study_becomes_parents_children_and_a_report(study_folder: Path, uri: str, capfd: pytest.CaptureFixture):
    ids = receipt(study_folder, uri)
    out, err = capfd.readouterr()
    assert out == f"MLflow experiment 'demo' in {uri}: 10 created, 3 registered (10 runs)\n" and err == ""
    runs = runs_of(uri)
    assert set(runs) == set(ids) == KEYS
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for name in STRATEGIES:
        for seed in SEEDS:
            assert runs[f"{name}/seed{seed}"].data.tags["mlflow.parentRunId"] == ids[name]
    parent, child = runs["m4"], runs["m4/seed1"]
    summary = StudyResults(study_folder).summary
    row = summary[(summary["run"] == "m4") & (summary["metric"] == "bias/people/ab_max")].iloc[0]
    assert parent.data.metrics["bias/people/ab_max"] == pytest.approx(row["mean"])
    rows = [row for rows in example_metrics("m4", 1).values() for row in rows if row.value is not None]
    measured = {metric_name(row.metric, row.group): row.value for row in rows}
    assert {name: child.data.metrics[name] for name in measured} == pytest.approx(measured)
    tags = runs["report"].data.tags
    tag = tags["claim.m4_lowers_ab"]
    assert tag.startswith("undecided: bias/people/ab_max undecided (d = -0.340 [") and tag.endswith(", 2 seeds)")
    assert tags["claim.simclip_over_random"].startswith("not tested here: ")
    assert parent.data.params.items() >= {"strategy": "m4", "train.lr": "0.001"}.items()
    assert child.data.params == parent.data.params | {"seed": "1"} and child.info.run_name == "m4 · seed 1"


def test_every_run_is_a_registered_model_with_its_card(study_folder: Path, uri: str, tmp_path: Path):
    from mlflow import MlflowClient

    ids = receipt(study_folder, uri)
    client = MlflowClient(uri)
    assert {model.name for model in client.search_registered_models()} == {f"demo.{name}" for name in STRATEGIES}
    (version,) = client.search_model_versions("name='demo.m4'")
    card = StudyResults(study_folder).card("m4")
    assert version.run_id == ids["m4"] and version.tags["evenclip.fingerprint"] == card["fingerprint"]
    assert json.loads((Path(version.source.removeprefix("file://")) / "card.json").read_text()) == card
    assert "seed1/model.safetensors" in version.description


def test_a_changed_card_alone_makes_a_new_model_version(study_folder: Path, uri: str):
    from mlflow import MlflowClient

    receipt(study_folder, uri)
    path = study_folder / "card" / "m4" / "card.md"
    path.write_text(path.read_text() + "\nmade on another day\n")  # replaces the run, and is no new content
    sign(path.with_name("manifest.json"))
    receipt(study_folder, uri)
    client = MlflowClient(uri)
    assert [version.version for version in client.search_model_versions("name='demo.m4'")] == [1]
    path = study_folder / "card" / "m4" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0" * 16}))
    sign(path.with_name("manifest.json"))
    receipt(study_folder, uri)
    versions = {
        version.version: version.tags["evenclip.fingerprint"]
        for version in client.search_model_versions("name='demo.m4'")
    }
    assert len(versions) == 2 and "0" * 16 in versions.values()
    assert len(client.search_model_versions("name='demo.none'")) == 1


def test_loss_curves_are_short_and_keep_their_ends(study_folder: Path, uri: str):
    from mlflow import MlflowClient

    ids = receipt(study_folder, uri)
    points = MlflowClient(uri).get_metric_history(ids["none/seed0"], "train/loss")
    history = StudyResults(study_folder).history("none", 0)
    assert len(points) == 200 < len(history)
    assert (points[0].step, points[-1].step) == (history["samples_seen"].iloc[0], history["samples_seen"].iloc[-1])
    assert points[-1].value == history["loss"].iloc[-1]


def test_runs_name_their_data_with_digests(study_folder: Path, uri: str):
    from mlflow import MlflowClient

    inputs = MlflowClient(uri).get_run(receipt(study_folder, uri)["none/seed0"]).inputs.dataset_inputs
    manifest = StudyResults(study_folder).training("none", 0)
    inputs_of_run = {(entry.dataset.name, entry.dataset.digest, entry.tags[0].value) for entry in inputs}
    assert ("world/train", manifest["inputs"]["data"]["sha256"][:16], "training") in inputs_of_run
    assert {name for name, _, context in inputs_of_run if context == "evaluation"} == {
        "world/people",
        "world/objects",
        "world/mixed",
    }


def test_artifacts_leave_out_the_sample_images(study_folder: Path, uri: str, tmp_path: Path):
    ids = receipt(study_folder, uri)
    folder = tmp_path / "store" / "mlartifacts" / "demo"
    report, parent = folder / ids["report"] / "artifacts", folder / ids["m4"] / "artifacts"
    page = (report / "report.html").read_text()
    assert "data:image/svg" in page and "data:image/jpeg" not in page
    assert len(list((report / "figures").glob("*.svg"))) == 19 and (report / "summary.csv").is_file()
    assert json.loads((parent / "balance" / "report.json").read_text())["strategy"] == "m4"
    assert not (tmp_path / "mlruns").exists()


def test_second_sync_does_nothing_and_says_so(study_folder: Path, uri: str, capfd: pytest.CaptureFixture):
    ids = receipt(study_folder, uri)
    before = (study_folder / "track.json").read_bytes()
    capfd.readouterr()
    assert receipt(study_folder, uri) == ids
    assert "nothing to do" in capfd.readouterr().out
    assert (study_folder / "track.json").read_bytes() == before


def test_a_changed_result_replaces_its_run_only(study_folder: Path, uri: str, capfd: pytest.CaptureFixture):
    ids = receipt(study_folder, uri)
    path = study_folder / "evaluate" / "m4" / "seed1" / "objects.json"
    document = json.loads(path.read_text())
    document["metrics"][0]["value"] = 0.5
    path.write_text(json.dumps(document))
    seal(study_folder)
    capfd.readouterr()
    new = receipt(study_folder, uri)
    assert "2 replaced" in capfd.readouterr().out
    assert {key for key in KEYS if new[key] != ids[key]} == {"m4/seed1", "report"}
    assert runs_of(uri)["m4/seed1"].data.metrics["zeroshot/objects/acc1"] == 0.5


def test_children_follow_a_replaced_parent(study_folder: Path, uri: str):
    ids = receipt(study_folder, uri)
    summary = pd.read_csv(study_folder / "summary.csv")
    summary.loc[(summary["run"] == "m4") & (summary["metric"] == "data/rb"), "mean"] = 0.123
    summary.to_csv(study_folder / "summary.csv", index=False)
    seal(study_folder)
    new = receipt(study_folder, uri)
    assert {key for key in KEYS if new[key] != ids[key]} == {"m4", "report"}
    assert runs_of(uri)["m4/seed0"].data.tags["mlflow.parentRunId"] == new["m4"]


def test_a_child_left_below_a_vanished_parent_is_moved(study_folder: Path, uri: str):
    from mlflow import MlflowClient

    ids = receipt(study_folder, uri)
    MlflowClient(uri).set_tag(ids["m4/seed0"], "mlflow.parentRunId", "0" * 32)  # as a sync that was killed leaves it
    assert receipt(study_folder, uri) == ids
    assert runs_of(uri)["m4/seed0"].data.tags["mlflow.parentRunId"] == ids["m4"]


def test_a_run_that_left_the_study_leaves_the_store(study_folder: Path, uri: str):
    from mlflow import MlflowClient

    receipt(study_folder, uri)
    client = MlflowClient(uri)
    experiment_id = client.get_experiment_by_name("demo").experiment_id
    foreign = client.create_run(experiment_id, run_name="mine").info.run_id
    study = json.loads((study_folder / "study.json").read_text())
    study["runs"] = [run for run in study["runs"] if run["run"] != "random_subsample"]
    (study_folder / "study.json").write_text(json.dumps(study))
    seal(study_folder)
    assert set(receipt(study_folder, uri)) == {key for key in KEYS if not key.startswith("random_subsample")}
    left = client.search_runs([experiment_id])
    assert foreign in {run.info.run_id for run in left} and len(left) == 8


def test_an_interrupted_sync_is_finished_by_the_next(study_folder: Path, uri: str, monkeypatch: pytest.MonkeyPatch):
    from mlflow import MlflowClient

    original, calls = MlflowClient.log_artifacts, []

    def interrupted(client: MlflowClient, *arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        original(client, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            receipt(study_folder, uri)
    assert not (study_folder / "track.json").exists()
    assert set(receipt(study_folder, uri)) == KEYS
    assert set(runs_of(uri)) == KEYS


def test_the_store_can_be_made_again_from_the_results(study_folder: Path, uri: str, tmp_path: Path):
    receipt(study_folder, uri)
    first = {key: (run.data.metrics, run.data.params) for key, run in runs_of(uri).items()}
    shutil.rmtree(tmp_path / "store")
    again = f"sqlite:///{tmp_path}/elsewhere/mlflow.db"  # MLflow keeps a removed file open in this process
    receipt(study_folder, again)
    assert {key: (run.data.metrics, run.data.params) for key, run in runs_of(again).items()} == first


def test_a_moved_store_is_an_error_that_says_what_to_do(study_folder: Path, uri: str, tmp_path: Path):
    receipt(study_folder, uri)
    shutil.copytree(tmp_path / "store", tmp_path / "moved")
    with pytest.raises(InputError, match="remove the store"):
        sync(study_folder, f"sqlite:///{tmp_path}/moved/mlflow.db")


@pytest.mark.parametrize("revision", ["cc1f77228345", "ffffffffffff", None])
def test_an_old_or_broken_store_is_refused_with_a_remedy(study_folder: Path, uri: str, revision: str | None):
    database = Path(uri.removeprefix("sqlite:///"))
    if revision is None:
        database.write_text("no database")
    else:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("update alembic_version set version_num=?", (revision,))
    instead = "remove the file" if revision is None else r"`mlflow db upgrade sqlite:.*`; or remove it"
    with pytest.raises(InputError, match=f"{instead} and sync each study again"):
        sync(study_folder, uri)


@pytest.mark.parametrize("wrong", ["nonsense://here", "./mlruns"])
def test_a_wrong_address_is_the_users_error(study_folder: Path, wrong: str):
    with pytest.raises(InputError, match=wrong):
        sync(study_folder, wrong)


def test_processes_that_open_a_new_store_at_once_all_finish(study_folder: Path, tmp_path: Path):
    command = [sys.executable, "-m", "evenclip", "track", "sync", "--results", str(study_folder)]
    for name in ("one", "two"):
        shutil.copytree(study_folder, tmp_path / name)
        study = json.loads((study_folder / "study.json").read_text()) | {"study": name}
        (tmp_path / name / "study.json").write_text(json.dumps(study))
        seal(tmp_path / name)
    jobs = [
        subprocess.Popen(
            [*command[:-1], str(tmp_path / name)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name in ("one", "two")
    ]
    ended = [job.communicate() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert [err for _, err in ended] == [b"", b""]
    assert all(b"10 created" in out for out, _ in ended)


def test_names_are_flat_and_allowed():
    assert metric_name("bias/people/accuracy", "a&b (insufficient)") == "bias/people/accuracy/a_b _insufficient_"


@pytest.mark.parametrize("n", [1, 2, 199, 200, 201, 5000])
def test_thinning_keeps_first_and_last(n: int):
    rows = thin(n)
    assert len(rows) == min(n, 200) and rows[0] == 0 and rows[-1] == n - 1 and (rows[1:] > rows[:-1]).all()


def test_planning_needs_no_mlflow_and_fingerprints_are_stable(study_folder: Path):
    first, second = (plan_study(StudyResults(study_folder)) for _ in range(2))
    assert [run.fingerprint for run in first] == [run.fingerprint for run in second]
    assert len({run.fingerprint for run in first}) == len(first)
    heavy = ("mlflow", "torch", "matplotlib")
    code = f"import sys, evenclip.track.options, evenclip.track; print([m for m in {heavy} if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
