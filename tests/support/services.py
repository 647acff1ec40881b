"""An MLflow server on PostgreSQL with its artifacts in an S3 store (moto), in a folder of this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from support.servers import free_ports, wait_for

START_S = 300
BUCKET = "artifacts"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
OLDER = """\
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(*sys.argv[1:]).create_experiment("older")
"""


class Services:
    """The three servers while the context lasts; ``uri`` is MLflow's address, ``s3`` the store's.

    Parameters
    ----------
    python : Path
        Interpreter of an environment with mlflow, psycopg, boto3 and moto.
    older : Path
        Interpreter of an environment with an older mlflow.
    postgres : Path
        Folder of PostgreSQL's programs.
    """

    def __init__(self, python: Path, older: Path, postgres: Path):
        self._python, self._older, self._postgres = python, older, postgres
        self._ports = dict(zip(("mlflow", "postgres", "s3"), free_ports(3), strict=True))
        self.uri = f"http://127.0.0.1:{self._ports['mlflow']}"
        self.s3 = f"http://127.0.0.1:{self._ports['s3']}"
        self._database = f"postgresql://mlflow@127.0.0.1:{self._ports['postgres']}/postgres"
        self._servers: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="evenclip-services-"))
        with ExitStack() as stack:
            stack.callback(self._stop)
            self._start_postgres()
            self._start("s3", [self._python, "-m", "moto.server", "-p", str(self._ports["s3"])])
            self._wait("s3", lambda: answers(self.s3 + "/moto-api/data.json"))
            self.in_s3(f"s3.create_bucket(Bucket='{BUCKET}')")
            self.start_mlflow()
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def start_mlflow(self) -> None:
        """Start MLflow's server and wait until it answers."""
        self._start("mlflow", [
            self._python, "-m", "mlflow", "server", "--backend-store-uri", self._database,
            "--artifacts-destination", f"s3://{BUCKET}", "--port", str(self._ports["mlflow"]), "--workers", "1",
        ])  # fmt: skip
        self._wait("mlflow", lambda: answers(self.uri + "/health"))

    def kill_mlflow(self) -> None:
        """Kill the server in the middle of whatever it does."""
        server = self._servers.pop("mlflow")
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    def mlflow(self, *arguments: str) -> None:
        """Run a command of the servers' MLflow."""
        subprocess.run([self._python, "-m", "mlflow", *arguments], check=True, capture_output=True, cwd="/")

    def make_older_store(self, uri: str) -> None:
        """Make a store as an older MLflow does, with an experiment "older"."""
        subprocess.run([self._older, "-c", OLDER, uri, str(self._folder)], check=True, capture_output=True, cwd="/")

    def version_before(self, version: str) -> str:
        """Version of MLflow's tables before ``version``."""
        code = (
            "import sys; from mlflow.store.db.utils import _get_alembic_config as config; "
            "from alembic.script import ScriptDirectory as scripts; "
            "print(scripts.from_config(config('')).get_revision(sys.argv[1]).down_revision)"
        )
        return subprocess.check_output([self._python, "-c", code, version], text=True, cwd="/").strip()

    def artifacts(self) -> int:
        """Number of objects in the S3 store."""
        return int(self.in_s3(f"print(len(list(s3.Bucket('{BUCKET}').objects.all())))"))

    def _start_postgres(self) -> None:
        # PostgreSQL refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            shutil.chown(self._folder, "postgres")
        data = self._folder / "database"
        create = [self._postgres / "initdb", "--pgdata", data, "--username", "mlflow", "--auth", "trust", "--no-sync"]
        subprocess.run([*as_user, *create], check=True, capture_output=True, cwd="/")
        options = ["-p", str(self._ports["postgres"]), "-k", str(self._folder), "-c", "fsync=off"]
        self._start("postgres", [*as_user, self._postgres / "postgres", "-D", data, *options])
        ready = [self._postgres / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._ports["postgres"])]
        self._wait("postgres", lambda: subprocess.run(ready).returncode == 0)

    def _start(self, name: str, command: list) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment |= KEYS | {"MLFLOW_S3_ENDPOINT_URL": self.s3}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes, of which we use none
        with open(self.log(name), "ab") as log:
            logged = {"stdout": log, "stderr": subprocess.STDOUT}
            self._servers[name] = subprocess.Popen(command, env=environment, start_new_session=True, cwd="/", **logged)

    def log(self, name: str) -> Path:
        """What a server said."""
        return self._folder / f"{name}.log"

    def _wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Wait until a server is ready; fail with the end of its log if it is not, or has ended."""

        def ready_or_ended() -> bool:
            return is_ready() or self._servers[name].poll() is not None

        try:
            wait_for(ready_or_ended, f"{name} is ready", START_S)
            assert self._servers[name].poll() is None, f"{name} has ended"
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log(name).read_text()[-3000:]}") from None

    def in_s3(self, code: str) -> str:
        """Output of Python code about the store ``s3``."""
        begin = f"import boto3; s3 = boto3.resource('s3', endpoint_url='{self.s3}'); "
        return subprocess.check_output([self._python, "-c", begin + code], text=True, env=os.environ | KEYS)

    def _stop(self) -> None:
        for server in self._servers.values():
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(server.pid, signal.SIGTERM)
        for server in self._servers.values():
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def answers(address: str) -> bool:
    """Whether a server answers."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True
