"""The slurm profile on a real cluster of two nodes: a study, and all that befalls a job there."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from support.servers import wait_for
from support.slurm_cluster import SlurmCluster, environment_of, processes
from support.workflow_project import IMPORTED, Project, copy_project

pytestmark = pytest.mark.platform
PROFILE = ["--workflow-profile", "profiles/slurm", "--jobs", "4", "--latency-wait", "5"]
PROFILE += ["--slurm-init-seconds-before-status-checks", "3"]
WITHOUT_ACCOUNTING = "slurm-status-command: squeue"
"""Key of the profile that a user takes into use where the cluster has no accounting."""
ON_GPU = {"train", "embed", "vqa"}
"""Rules of the smoke study whose options have a device."""
LABELS = "results/smoke/label/world.parquet"
MODEL = "results/smoke/train/m4/seed0/model.safetensors"
FAILS_ONCE = """\
import pathlib, sys
flag = pathlib.Path("failed")
if not flag.exists() and sys.argv[1] == "label":  # not in Snakemake itself
    flag.touch()
    sys.exit("too little memory")
"""
SCATTERED = {"label_part": 3, "balance_count": 3, "balance_apply": 6}
"""Rule -> jobs of two strategies in three parts."""
WAIT_S = 1800


@pytest.fixture(scope="module")
def cluster(needed, tmp_path_factory):
    for program in ("munged", "slurmctld", "slurmd", "sbatch", "pgrep"):
        needed(program)
    with SlurmCluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster, pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, cluster.environment[name])
        yield cluster


@pytest.fixture(scope="module")
def finished(cluster: SlurmCluster, tmp_path_factory) -> Project:
    """The smoke study, run by the cluster."""
    project = copy_project(tmp_path_factory.mktemp("study") / "project")
    project.edit("profiles/slurm/config.yaml", f"# {WITHOUT_ACCOUNTING}", WITHOUT_ACCOUNTING)
    project.snakemake(*PROFILE, timeout=3600)
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished study, to change."""
    shutil.copytree(finished.folder, tmp_path / "project")
    return Project(tmp_path / "project")


def jobs_of(cluster: SlurmCluster, project: Project, rule: str = "") -> list[dict[str, str]]:
    """The jobs of a project, of all rules or one, in their order."""
    project_jobs = [job for job in cluster.jobs() if job["WorkDir"] == str(project.folder)]
    return [job for job in project_jobs if rule in ("", rule_of(job))]


def gpus_of(job: dict[str, str]) -> int:
    """GPUs that a job asked for."""
    asked = re.search(r"gpu:(\d+)", job.get("TresPerJob", ""))
    return int(asked[1]) if asked else 0


def rule_of(job: dict[str, str]) -> str:
    """The rule that a job runs; of jobs in a group, which the profile names as their rule, that rule too."""
    return re.match(r"rule_(\w+?)(?:_\1)?(?:_wildcards_.*)?$", job["Comment"])[1]


@pytest.fixture
def start(project: Project) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start Snakemake in the project, in a group of its own as a shell does; what still runs after a test is ended."""
    started = []

    def start_snakemake(*targets: str) -> subprocess.Popen:
        with open(project.folder / "snakemake.out", "w") as log:
            # a background job of a shell script, as this test may be, ignores Ctrl-C, and so would all that it starts
            command = ["env", "--default-signal=INT", *project.command(*targets, *PROFILE)]
            process = subprocess.Popen(command, cwd=project.folder, stdout=log, stderr=log, start_new_session=True)
        started.append(process)
        return process

    yield start_snakemake
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(WAIT_S)


def training(cluster: SlurmCluster, project: Project, restarts: int = 0, run: str = "m4") -> dict[str, str]:
    """The job of a run's training, once it runs and has saved a state."""
    log = project.folder / f"logs/smoke/train/{run}_seed0.log"
    begun = time.time()

    def runs() -> bool:
        jobs = jobs_of(cluster, project, "train")
        if not jobs or jobs[-1]["JobState"] != "RUNNING" or int(jobs[-1]["Restarts"]) < restarts:
            return False
        states = (project.folder / ".state").glob("*/state.pt")
        return log.exists() and any(path.stat().st_mtime > begun for path in states)

    wait_for(runs, "the training runs and has saved its state", WAIT_S)
    return jobs_of(cluster, project, "train")[-1]


def ranks_in(folder: Path) -> set[str]:
    """Ranks of torchrun's processes that run in a folder."""
    here = [pid for pid in processes() if f"PWD={folder}" in environment_of(pid)]
    return {entry[5:] for pid in here for entry in environment_of(pid) if entry.startswith("RANK=")}


def make_long(project: Project) -> None:
    """Let the training take minutes, and save its state every second."""
    project.edit("tests/workflow/smoke.yaml", "samples_seen: 800", "samples_seen: 200000\n  save_every_s: 1")


def test_the_study_runs_and_jobs_say_what_they_are(cluster: SlurmCluster, finished: Project):
    assert (finished.folder / "results/smoke/report.html").is_file()
    jobs = jobs_of(cluster, finished)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {rule_of(job) for job in jobs if gpus_of(job)} == ON_GPU
    assert {gpus_of(job) for job in jobs} == {0, 1}
    comments = cluster.run("squeue", "--me", "--states=all", "--noheader", "--Format=JobID,State,Comment:60").split()
    assert "rule_train_wildcards_m4_0" in comments, comments  # run and seed
    n_measured = len(list((finished.folder / "results/smoke/evaluate").glob("*/seed0/world_[!q]*.json")))
    assert (n_measured, len(jobs_of(cluster, finished, "evaluate"))) == (6, 1)  # all sets of two runs in one job
    assert finished.planned() == {}


def test_a_training_outlives_its_node_and_a_cancellation(cluster: SlurmCluster, project: Project, start):
    make_long(project)
    snakemake = start(MODEL)
    node = training(cluster, project)["NodeList"]
    cluster.kill_node(node)
    job = training(cluster, project, restarts=1)
    assert job["NodeList"] != node
    cluster.start_node(node)
    log = project.folder / "logs/smoke/train/m4_seed0.log"
    wait_for(lambda: "continuing at step" in log.read_text(), "the other node goes on at the saved state", WAIT_S)
    cluster.run("scancel", job["JobId"])
    wait_for(lambda: len(jobs_of(cluster, project, "train")) == 2, "the training is tried again", WAIT_S)
    assert snakemake.wait(WAIT_S) == 0, (project.folder / "snakemake.out").read_text()[-3000:]
    assert "continuing at step" in log.read_text() and (project.folder / MODEL).is_file()
    cancelled, completed = jobs_of(cluster, project, "train")
    assert (cancelled["JobState"], completed["JobState"]) == ("CANCELLED", "COMPLETED")


def test_a_failed_job_is_tried_again_with_more_memory(cluster: SlurmCluster, project: Project):
    module = project.folder / "src/evenclip/label/__init__.py"
    module.write_text(FAILS_ONCE + module.read_text())
    before = {job["JobId"] for job in jobs_of(cluster, project)}
    done = project.snakemake(*PROFILE, LABELS, "--forcerun", "label")
    first, second = (job for job in jobs_of(cluster, project, "label") if job["JobId"] not in before)
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED"), done.stdout
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("4000M", "8000M")
    assert "too little memory" in done.stdout


def test_two_processes_train_one_model(cluster: SlurmCluster, project: Project, start):
    model = MODEL.replace("m4", "none")  # the triples of m4's knowledge are drawn by each process for itself
    run = (project.folder / model).parent
    by_one = pq.read_table(run / "history.parquet")["loss"].to_numpy()
    project.edit("tests/workflow/smoke.yaml", "seeds: [0]", "seeds: [0]\nprocesses: 2")
    make_long(project)
    snakemake = start(model)
    job = training(cluster, project, run="none")
    assert (gpus_of(job), job["NumCPUs"], job["NumNodes"]) == (2, "2", "1")
    assert ranks_in(project.folder) == {"0", "1"}
    os.killpg(snakemake.pid, signal.SIGINT)
    snakemake.wait(WAIT_S)
    project.edit("tests/workflow/smoke.yaml", "samples_seen: 200000", "samples_seen: 800")
    project.snakemake(*PROFILE, model)
    assert json.loads((run / "manifest.json").read_text())["n_processes"] == 2
    # Not the weights: AdamW makes whole steps of gradients that are zero but for their rounding, and two threads of one
    # process part as far (0.002). That gradients are equal is for the unit tests.
    by_two = pq.read_table(run / "history.parquet")["loss"].to_numpy()
    np.testing.assert_allclose(by_two, by_one, rtol=2e-4)


def test_scattered_balancing_runs_as_arrays(cluster: SlurmCluster, project: Project):
    project.edit("tests/workflow/smoke.yaml", "data:\n", IMPORTED)
    project.edit("tests/workflow/smoke.yaml", "  dataset: world\n", "  dataset: shards\n")
    weights = ["results/smoke/balance/m4/weights.parquet", "results/smoke/balance/none/weights.parquet"]
    project.snakemake(*weights)
    whole = [pq.read_table(project.folder / path) for path in weights]
    project.edit("tests/workflow/smoke.yaml", "seeds:", "scatter: 3\nseeds:")
    project.snakemake(*PROFILE, "--jobs", "20", "--slurm-array-jobs", ",".join(SCATTERED), *weights)
    for path, expected in zip(weights, whole, strict=True):
        assert pq.read_table(project.folder / path).equals(expected), path
    for rule, n_tasks in SCATTERED.items():
        tasks = jobs_of(cluster, project, rule)
        assert len(tasks) == n_tasks and {job["JobState"] for job in tasks} == {"COMPLETED"}, rule
        assert any("ArrayJobId" in job for job in tasks), rule


def test_partition_and_account_are_keys_of_the_profile(cluster: SlurmCluster, project: Project):
    for key, value in (("partition", "short"), ("account", "lab")):
        project.edit("profiles/slurm/config.yaml", f"#  - slurm_{key}=NAME", f"  - slurm_{key}={value}")
    database = cluster.folder / "bin/sacctmgr"  # in place of an accounting database, which the plugin asks
    database.write_text("#!/bin/sh\necho lab\n")
    database.chmod(0o755)
    project.snakemake(*PROFILE, LABELS, "--forcerun", "label")
    database.unlink()
    (job,) = jobs_of(cluster, project, "label")
    assert (job["Partition"], job["Account"], job["NodeList"]) == ("short", "lab", "node2")


def test_ctrl_c_cancels_the_jobs(cluster: SlurmCluster, project: Project, start):
    make_long(project)
    snakemake = start(MODEL)
    job = training(cluster, project)
    os.killpg(snakemake.pid, signal.SIGINT)
    assert snakemake.wait(120) != 0
    wait_for(lambda: jobs_of(cluster, project, "train")[-1]["JobState"] == "CANCELLED", "the training is cancelled")
    assert not [job for job in jobs_of(cluster, project) if job["JobState"] in ("RUNNING", "PENDING")], job
