"""Both container recipes install what `make install` does, from all the files that it needs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.project import ROOT

DOCKERFILE = (ROOT / "containers/Dockerfile").read_text()
APPTAINER = (ROOT / "containers/evenclip.def").read_text()
HOME = "/opt/evenclip"


def copied_by_docker() -> list[str]:
    return [name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]]


def copied_by_apptainer() -> list[str]:
    block = re.search(r"%files\n(.*?)\n\n", APPTAINER, re.DOTALL)[1]
    pairs = [line.split() for line in block.splitlines()]
    assert all(target == f"{HOME}/{source}" for source, target in pairs)
    return [source for source, _ in pairs]


def test_recipes_copy_the_same_files():
    assert copied_by_docker() == copied_by_apptainer()


def test_dockerignore_lets_through_what_is_copied():
    kept = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")]
    assert kept == copied_by_docker()


def test_recipes_have_the_same_base_of_the_locked_python():
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^From: (\S+)$", APPTAINER, re.MULTILINE) == [base]
    python = re.search(r"python=([\d.]+)", (ROOT / "environment.yml").read_text())[1]
    assert base.startswith(f"python:{python}-")


def test_recipes_have_the_debian_packages_of_make_install():
    (debian,) = re.findall(r"apt-get install --yes --no-install-recommends (.+?)(?: \\)?$", DOCKERFILE, re.MULTILINE)
    assert debian == "make" and f"apt-get install --yes --no-install-recommends {debian}\n" in APPTAINER
    assert f"WORKDIR {HOME}" in DOCKERFILE and "RUN make install" in DOCKERFILE
    assert f"make -C {HOME} install" in APPTAINER


@pytest.mark.parametrize("backend", ["", "cpu"])
def test_make_install_finds_its_files_in_the_copy(tmp_path: Path, backend: str):
    for name in copied_by_docker():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    command = ["make", "--dry-run", "install", f"TORCH_BACKEND={backend}"]
    planned = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    read = re.findall(r"(?:-r |python )([\w/.-]+\.(?:txt|py))", planned.stdout)
    assert read and all((tmp_path / file).exists() for file in read if not file.startswith(".venv/"))
    (project_files,) = re.findall(r"^(?:readme|license-files) = .*$", (ROOT / "pyproject.toml").read_text(), re.M)[:1]
    assert re.search(r'"(.+)"', project_files)[1] in copied_by_docker()
