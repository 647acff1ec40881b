"""Labels from images in a study: the pairs and an annotated set are embedded, and the labels say how good they are."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.workflow

LABELS = "results/smoke/label/world.parquet"
EMBEDDING = """
  embedding: {model: models/world, attribute_data: world/people, attributes: [group]}
  options: {drop_lowest_similarity: 0.1}
"""


def test_labels_have_an_image_side(project):
    shutil.copytree(project.folder / "results/smoke/train/none/seed0", project.folder / "models/world")
    lexicon = "  lexicon: config/lexicons/world.yaml\n"
    project.edit("tests/workflow/smoke.yaml", lexicon, lexicon.rstrip() + EMBEDDING)
    assert project.planned(LABELS) == {"label_embed": 1, "label": 1}
    project.snakemake(LABELS)
    table = pq.read_table(project.folder / "results/smoke/label/world.parquet")
    assert len(table) == 360
    assert {name.split(".")[0] for name in table.column_names if ".group." in name} == {"image", "text"}
    report = json.loads((project.folder / "results/smoke/label/world.json").read_text())
    assert report["image"]["group"]["held_out"]["accuracy"]["value"] > 0.4
    assert not project.planned(LABELS)
