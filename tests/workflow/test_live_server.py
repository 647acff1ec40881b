"""An MLflow server stopped and started again during a training: no point is lost, the training notices nothing."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from evenclip.track import live
from support.live_training import check_live_training

pytestmark = pytest.mark.workflow


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = [start_server(tmp_path, port)]

    def lose() -> None:
        time.sleep(3)  # so that some points are there
        stop(servers[-1])

    def bring_back() -> None:
        time.sleep(2)  # so that some attempts fail
        servers.append(start_server(tmp_path, port))

    try:
        check_live_training(tmp_path, f"http://127.0.0.1:{port}", lose, bring_back)
    finally:
        stop(servers[-1])
