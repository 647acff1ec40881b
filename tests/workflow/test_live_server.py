"""An MLflow server stopped and started again during a training: no point is lost, the training notices nothing."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evenclip.track import live
from evenclip.track.live import EXPERIMENT, live_log
from evenclip.train import TrainOptions, train_model
from support.tiny_training import write_model, write_squares, write_weights

pytestmark = pytest.mark.workflow
N_STEPS = 200


def start_server(folder: Path, port: int) -> subprocess.Popen:
    """A server on a store of its own, once it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=folder, start_new_session=True, **quiet)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return server
        except OSError:
            assert server.poll() is None, "the server has ended"
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


def stop(server: subprocess.Popen) -> None:
    os.killpg(server.pid, 9)
    server.wait()


def test_a_server_that_is_restarted_gets_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "RETRY_EVERY_S", 0.5)
    monkeypatch.setattr(live, "MAX_CLOSING_S", 60.0)
    write_squares(tmp_path / "data", 64)
    weights = write_weights(tmp_path / "weights.parquet", {f"{i:05d}": 1 for i in range(64)})
    plain = {"model": str(write_model(tmp_path / "tiny.json")), "samples_seen": N_STEPS * 16, "batch_size": 16}
    options = TrainOptions(**plain, log_every=2, device="cpu", precision="fp32")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = [start_server(tmp_path, port)]
    seen = []
    try:
        with live_log(f"http://127.0.0.1:{port}", "run/seed0") as watch:

            def watch_and_disturb(row: dict) -> None:
                watch(row)
                seen.append(row["step"])
                if row["step"] == 60:
                    time.sleep(3)  # so that some points are there
                    stop(servers[-1])
                if row["step"] == 120:
                    time.sleep(2)  # so that some attempts fail
                    servers.append(start_server(tmp_path, port))

            train_model(tmp_path / "data", weights, tmp_path / "run", 0, tmp_path / "state", options,
                        watch=watch_and_disturb)  # fmt: skip
        client = MlflowClient(f"http://127.0.0.1:{port}")
        (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
        steps = {point.step for point in client.get_metric_history(run.info.run_id, "train/loss")}
    finally:
        stop(servers[-1])
    assert seen == list(range(2, N_STEPS + 1, 2)) and steps == set(seen)
    assert run.info.status == "FINISHED" and (tmp_path / "run" / "model.safetensors").is_file()
