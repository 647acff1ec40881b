"""Results pushed to DVC remotes of three kinds and pulled by a reviewer, who notices an object that was replaced."""

import getpass
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.example_study import write_example_study
from support.project import ROOT
from support.servers import free_ports, listens, wait_for
from support.services import KEYS, Services

pytestmark = pytest.mark.platform
BUCKET = "results"
REPORT = "results/demo/report.html"
PIPELINE = """\
stages:
  study:
    cmd: "true"
    deps: [lexicon.yaml]
    outs:
      - data/world: {persist: true}
      - results/demo: {persist: true}
"""
"""The stage of dvc.yaml, whose command has already run."""


class Remote:
    """A DVC remote: its address, its settings, and how to replace an object of it by another of the same size."""

    def __init__(self, address: str, replace: Callable[[str], None], **settings: str):
        self.address, self.replace, self.settings = address, replace, settings


def object_path(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def replace_file(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))


@pytest.fixture
def local(tmp_path: Path) -> Remote:
    store = tmp_path / "store"
    return Remote(str(store), lambda md5: replace_file(store / object_path(md5)))


@pytest.fixture
def s3(services: Services) -> Remote:
    services.in_s3(f"s3.create_bucket(Bucket='{BUCKET}')")

    def replace(md5: str) -> None:
        services.in_s3(f"o = s3.Object('{BUCKET}', '{object_path(md5)}'); o.put(Body=bytes(o.content_length))")

    return Remote(f"s3://{BUCKET}", replace, endpointurl=services.s3)


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[Remote]:
    store, key, (port,) = tmp_path / "store", tmp_path / "key", free_ports(1)
    store.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    python = Path(os.environ["EVENCLIP_DVC"]).parent / "python"
    server = subprocess.Popen([python, ROOT / "tests/support/sftp_server.py", str(port), store, key])
    try:
        wait_for(lambda: listens(port), "the SFTP server answers")
        address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}/"
        yield Remote(address, lambda md5: replace_file(store / object_path(md5)), keyfile=str(key))
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study under git, with its report."""
    folder = tmp_path_factory.mktemp("example")
    results = write_example_study(folder)
    run(folder, sys.executable, "-m", "evenclip", "report", "--results", str(results), "--out", str(folder / REPORT))
    (folder / "dvc.yaml").write_text(PIPELINE)
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "config", "user.name", "tester")
    run(folder, "git", "config", "user.email", "tester@example.org")
    return folder


def run(folder: Path, *command: str, fails: bool = False) -> str:
    """Output of a command; ``dvc`` is the one that knows remotes."""
    program = os.environ["EVENCLIP_DVC"] if command[0] == "dvc" else command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, env=os.environ | KEYS | {"DVC_NO_ANALYTICS": "true"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def verify(folder: Path, fails: bool = False) -> str:
    return run(folder, sys.executable, "-m", "evenclip", "verify", ".", fails=fails)


@pytest.mark.parametrize("kind", ["local", "s3", "ssh"])
def test_a_reviewer_gets_what_was_pushed_or_an_error(example: Path, kind: str, tmp_path: Path, request):
    remote, author = request.getfixturevalue(kind), tmp_path / "author"
    shutil.copytree(example, author, symlinks=True)
    run(author, "dvc", "remote", "add", "--default", "store", remote.address)
    for name, value in {**remote.settings, "verify": "true"}.items():
        run(author, "dvc", "remote", "modify", "store", name, value)
    run(author, "dvc", "repro")
    run(author, "dvc", "push")
    run(author, "git", "add", ".")
    run(author, "git", "commit", "--quiet", "--message", "pinned")

    reviewer = tmp_path / "reviewer"
    run(tmp_path, "git", "clone", "--quiet", str(author), str(reviewer))
    run(reviewer, "dvc", "pull")
    assert (reviewer / REPORT).read_bytes() == (author / REPORT).read_bytes()
    assert "didn't change, skipping" in run(reviewer, "dvc", "repro")
    verify(reviewer)

    remote.replace(hashlib.md5((author / REPORT).read_bytes()).hexdigest())
    second = tmp_path / "second"
    run(tmp_path, "git", "clone", "--quiet", str(author), str(second))
    assert "results/demo" in run(second, "dvc", "pull", fails=True)
    assert not (second / REPORT).exists()
    run(second, "dvc", "remote", "modify", "store", "verify", "false")
    run(second, "dvc", "pull", "--force")
    assert REPORT in verify(second, fails=True)
