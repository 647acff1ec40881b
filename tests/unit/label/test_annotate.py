"""Annotated sets: the one group and label that captions name, and weights that make the two independent."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from evenclip.balance.options import BalanceOptions
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.label.annotate import annotate_dataset
from evenclip.provenance import Manifest
from support.tiny_training import square_jpeg

LEXICON = {
    "sensitive": {"gender": {"woman": ["woman"], "man": ["man"]}},
    "target": {"ball": ["ball"], "dress": ["dress"]},
    "proxy": {"park": ["park"]},
}
CAPTIONS = [
    *["a woman in a dress"] * 6, *["a man with a ball"] * 6, *["a woman with a ball"] * 2, *["a man in a dress"] * 2,
    *["a man in a park"] * 4, "a woman", "a man and a woman", "a ball on a dress", "nobody",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    jpeg = square_jpeg("red", np.random.default_rng(0))
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        for i, caption in enumerate(CAPTIONS):
            writer.add(f"{i}", jpeg, [caption, "more"], {"place": "x"}, width=32, height=32, sha256="")
    (tmp_path / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON))
    return tmp_path / "data"


def test_a_pair_has_the_only_group_and_label_that_it_names(data: Path, tmp_path: Path):
    annotate_dataset(data, tmp_path / "lexicon.yaml", tmp_path / "out", BalanceOptions())
    rows = read_pairs(tmp_path / "out").to_pylist()
    named = [(row["gender"], row["label"]) for row in rows]
    assert named[0] == ("woman", "dress") and named[-5:] == [
        ("man", ""), ("woman", ""), ("", ""), ("", ""), ("", ""),
    ]  # fmt: skip
    before = read_pairs(data).to_pylist()
    assert all(before_row.items() <= row.items() for before_row, row in zip(before, rows, strict=True))
    assert [key for key, _ in iterate_images(tmp_path / "out")] == [row["key"] for row in rows]


def test_the_weights_make_group_and_label_independent(data: Path, tmp_path: Path):
    options = BalanceOptions(eps_rep=0, eps_rel=0, preserve="labels")
    report = annotate_dataset(data, tmp_path / "lexicon.yaml", tmp_path / "out", options)
    assert report["ab_before"] > 0.3 and report["ab_after"] == pytest.approx(0, abs=1e-5)
    table = read_pairs(tmp_path / "out").to_pandas()
    table = table[table.gender != ""].assign(balance=lambda t: t.balance.astype(float))
    share = table.groupby(["gender", "label"]).balance.sum() / table.groupby("gender").balance.sum()
    assert share["man", "ball"] == pytest.approx(share["woman", "ball"], abs=1e-4)
    assert share["man", "dress"] == pytest.approx(share["woman", "dress"], abs=1e-4)


def test_a_column_that_is_there_already_is_refused(data: Path, tmp_path: Path):
    annotate_dataset(data, tmp_path / "lexicon.yaml", tmp_path / "out", BalanceOptions())
    with pytest.raises(InputError, match="it has a column 'balance'"):
        annotate_dataset(tmp_path / "out", tmp_path / "lexicon.yaml", tmp_path / "again", BalanceOptions())
