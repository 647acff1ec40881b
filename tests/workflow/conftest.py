"""A copy of the project in which the smoke study has run once, for tests that then change one thing."""

import shutil

import pytest

from support.workflow_project import Project, copy_project

HOSTILE = 'a finished study; $(touch pwned) `touch pwned` "quoted" ü'  # no apostrophe: MLflow's SQL fails on it
"""A legal name of a folder, in which all that a shell could take for code is only a name."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The smoke study, run once; read only: tests that change something take `project`."""
    project = copy_project(tmp_path_factory.mktemp(HOSTILE))
    return Project(project.folder, project.snakemake().stdout)


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished study, to change."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder)  # keeps modification times, as `cp -a` does
    return Project(folder)
