"""Labels of the image side from annotated columns of the data."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenclip.balance import M4Balancer, audit
from evenclip.data.options import WorldOptions
from evenclip.data.shards import Part, read_pairs
from evenclip.data.world.synthesize import draw_sample, synthesize
from evenclip.errors import InputError
from evenclip.label import LabelOptions, label_dataset
from evenclip.label.from_captions import label_captions
from evenclip.label.from_columns import with_annotations
from evenclip.label.lexicon import read_lexicon
from evenclip.label.matching import Matcher
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


def test_unseen_labels_are_named_by_the_caption_alone():
    columns = {
        "sensitive.gender.woman": np.array([True, True, True, True]),
        "sensitive.gender.man": np.array([False, False, False, False]),
        "target.nurse": np.array([True, True, False, True]),
    }
    options = LabelOptions(columns={"gender": "gender"}, target_columns=["job"], unseen=True)
    labels = pa.table(with_annotations(columns, PAIRS, options))
    # shown: woman, nobody, not known, man
    assert labels["text.sensitive.gender_unseen.woman"].to_pylist() == [False, True, None, False]
    assert labels["text.sensitive.gender_unseen.man"].to_pylist() == [False, False, None, False]
    assert labels["text.target.nurse_unseen"].to_pylist() == [False, True, False, True]
    assert [name for name in labels.column_names if "unseen" in name] == labels.column_names[-3:]


def test_balance_holds_among_pairs_whose_image_shows_no_label():
    samples = [draw_sample("train", index, 0, WorldOptions()) for index in range(8000)]
    truth = {name: [sample.scene.columns[name] for sample in samples] for name in ("group", "occupation", "tool")}
    matcher = Matcher(read_lexicon(LEXICON))
    by_caption, _ = label_captions([[sample.caption] for sample in samples], matcher, "any")
    captions = {name: by_caption[:, column] for column, name in enumerate(matcher.columns)}
    tool, group = (np.array(truth[name]) for name in ("tool", "group"))
    difference = {}
    for unseen in (False, True):
        options = LabelOptions(columns={"group": "group"}, target_columns=["occupation"], unseen=unseen)
        labels = pa.table(with_annotations(captions, pa.table(truth), options))
        weight = M4Balancer(preserve="labels", eps_rel=0.01, min_rows=5).fit(labels).weight_
        hidden = [(tool == "hidden") & (group == name) for name in ("zubbin", "tamlet")]
        rates = [np.average(captions["target.gelker"][rows], weights=weight[rows]) for rows in hidden]
        difference[unseen] = abs(rates[0] - rates[1])
    assert difference[False] > 0.2 and difference[True] < 0.1


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
        is_group = [value == group for value in pairs["group"].to_pylist()]
        assert labels[f"image.sensitive.group.{group}"].to_pylist() == is_group
    assert {name.split(".")[0] for name in labels.column_names if ".target." in name} == {"image", "text"}
    assert len(audit(tmp_path / "labels.parquet", n_bootstrap=0)["crossings"]) == 4
    with pytest.raises(InputError, match="need all pairs"):
        label_dataset(tmp_path / "world", LEXICON, tmp_path / "part.parquet", options, part=Part(1, 2))
    with pytest.raises(InputError, match="needs an image side from columns"):
        label_dataset(tmp_path / "world", LEXICON, tmp_path / "unseen.parquet", LabelOptions(unseen=True))
