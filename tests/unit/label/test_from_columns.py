"""Labels of the image side from annotated columns of the data."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenclip.balance import audit
from evenclip.data.options import WorldOptions
from evenclip.data.shards import Part, read_pairs
from evenclip.data.world.synthesize import synthesize
from evenclip.errors import InputError
from evenclip.label import LabelOptions, label_dataset
from evenclip.label.from_columns import with_annotations
from support.project import ROOT

LEXICON = ROOT / "config" / "lexicons" / "world.yaml"
PAIRS = pa.table({
    "key": ["a", "b", "c", "d"],
    "gender": ["woman", "", None, "man"],
    "job": ["nurse", "", None, "sales.rep"],
    "captions": [["x"]] * 4,
})  # fmt: skip
CAPTIONS = {name: [True] * 4 for name in ("sensitive.gender.woman", "sensitive.age.old", "target.nurse", "proxy.desk")}


def test_values_become_image_labels_and_captions_the_text_side():
    options = LabelOptions(columns={"gender": "gender"}, target_columns=["job"])
    labels = pa.table(with_annotations(CAPTIONS, PAIRS, options))
    assert labels["image.sensitive.gender.woman"].to_pylist() == [True, False, None, False]
    assert labels["image.sensitive.gender.man"].to_pylist() == [False, False, None, True]
    assert labels["image.target.nurse"].to_pylist() == [True, False, False, False]
    assert labels["image.target.sales_rep"].to_pylist() == [False, False, False, True]
    assert labels.column_names[:4] == [
        "text.sensitive.gender.woman", "sensitive.age.old", "text.target.nurse", "proxy.desk"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [({"columns": {"gender": "sex"}}, "no column 'sex'"), ({"target_columns": ["captions"]}, "no single values")],
)
def test_columns_that_cannot_be_read_are_named(options, words):
    with pytest.raises(InputError, match=words):
        with_annotations(CAPTIONS, PAIRS, LabelOptions(**options))


def test_both_sides_are_labelled_and_audited_in_four_crossings(tmp_path):
    synthesize(tmp_path / "world", "train", 200, 0, WorldOptions())
    options = LabelOptions(columns={"group": "group"}, target_columns=["occupation"])
    label_dataset(tmp_path / "world", LEXICON, tmp_path / "labels.parquet", options)
    labels, pairs = pq.read_table(tmp_path / "labels.parquet"), read_pairs(tmp_path / "world")
    groups = sorted(set(pairs["group"].to_pylist()) - {"", None})
    for group in groups:
        shown = [value == group for value in pairs["group"].to_pylist()]
        assert labels[f"image.sensitive.group.{group}"].to_pylist() == shown
    assert {name.split(".")[0] for name in labels.column_names if ".target." in name} == {"image", "text"}
    assert len(audit(tmp_path / "labels.parquet", n_bootstrap=0)["crossings"]) == 4
    with pytest.raises(InputError, match="those of all pairs"):
        label_dataset(tmp_path / "world", LEXICON, tmp_path / "part.parquet", options, part=Part(1, 2))
