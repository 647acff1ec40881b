"""The samples and tables of a report name the perceived attributes of both sides of a pair."""

import shutil
from pathlib import Path

from evenclip.report.samples import read_samples
from evenclip.report.tables import label_table
from evenclip.results import StudyResults
from evenclip.tables import read_table, write_table


def test_perceived_attributes_of_an_image_side_are_shown(example_root: Path, tmp_path: Path):
    shutil.copytree(example_root / "results" / "demo", tmp_path / "demo")
    study = StudyResults(tmp_path / "demo")
    table = read_table(study.label_table("world"))
    for side in ("text", "image"):
        for name in [name for name in table.column_names if name.startswith("sensitive.")]:
            table = table.append_column(f"{side}.{name}", table[name])
    table = table.drop_columns([name for name in table.column_names if name.startswith("sensitive.")])
    assert study.labels and (tmp_path / "demo/label/world.json").unlink() is None  # it records another table
    write_table(table, study.label_table("world"))
    samples = read_samples(study, "world", study.labels["world"])
    words = {word for sample in samples for word in sample.labels}
    for side in ("in the image", "in the caption"):
        assert f"perceived group: zubbin ({side})" in words

    document = study.labels["world"]
    columns = {f"text.{name}" if name.startswith("sensitive.") else name: facts
               for name, facts in document["columns"].items()}  # fmt: skip
    names = [row[0] for row in label_table(document | {"columns": columns}, "world").rows]
    assert "perceived group: zubbin (in the caption)" in names and len(names) == len(columns)
