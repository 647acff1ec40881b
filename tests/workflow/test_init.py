"""From a person's own photos to a report, as the README says: `evenclip init`, then Snakemake, without an edit."""

import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.workflow_project import Project, copy_project

pytestmark = pytest.mark.workflow

N = 160


def write_photos(project: Project) -> None:
    """Photos in a folder with a space in its name, and captions elsewhere in a CSV with misspelt columns."""
    rng = np.random.default_rng(0)
    folder = project.folder / "holiday photos"
    folder.mkdir()
    rows = []
    for i in range(N):
        name = f"IMG_{i:04d}.JPG"
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(folder / name, "JPEG")
        person, thing = ("woman", "man")[i % 2], ("guitar", "bicycle")[rng.random() < (0.3, 0.6)[i % 2]]
        rows.append({"Filname": name.lower(), "Captoin": f"a {person} with a {thing} number {i}"})
    pd.DataFrame(rows).to_csv(project.folder / "my captions.csv", index=False)


def test_own_photos_become_a_report_without_an_edit(tmp_path):
    project = copy_project(tmp_path / "checkout")
    write_photos(project)
    evenclip = [sys.executable, "-m", "evenclip"]
    said = project.run(*evenclip, "init", "holiday photos", "--captions", "my captions.csv").stdout
    assert "gender.woman 80, gender.man 80" in said and "guitar" in said
    study = "studies/holiday_photos/study.yaml"
    assert study in said.splitlines()[-1]
    assert project.run(*evenclip, "config", "check", study).stdout.startswith("baseline\tstrategy=none\n")
    project.edit(study, "seeds: [0, 1]", "seeds: [0]")  # only to save time
    project.edit(study, "samples_seen: 4000", "samples_seen: 160")
    done = project.snakemake("results/holiday_photos/report.html", "--configfile", study)
    assert (project.folder / "results/holiday_photos/report.html").stat().st_size > 10_000
    assert "Among the training pairs, association bias went from 0." in done.stdout and "Error" not in done.stdout
