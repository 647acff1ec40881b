"""`evenclip verify` names what differs from what was written."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from evenclip.card import write_study_cards
from evenclip.data.importing import import_dataset
from evenclip.data.options import ImportOptions
from evenclip.digests import with_digest
from evenclip.errors import InputError
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.verify import dvc_md5, verify
from support.example_study import seal


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_study_is_as_written(study_folder):
    verification = verify(study_folder)
    assert verification.n_files > 20 and verification.n_manifests > 10


@pytest.mark.parametrize("name", [
    "balance/m4/weights.parquet", "label/world.parquet", "summary.csv", "train/m4/seed0/manifest.json",
    "evaluate/m4/seed0/people.json", "study.json", "balance/none/report.json", "card/m4/card.html", "card/m4/card.md",
    "card/m4/card.json", "card/none/manifest.json",
])  # fmt: skip
def test_a_flipped_byte_is_named(study_folder, name):
    flip(study_folder / name)
    with pytest.raises(InputError, match=name.rpartition("/")[2]):
        verify(study_folder)


def test_sizes_alone_miss_a_flip_and_see_a_cut(study_folder):
    path = study_folder / "balance/m4/weights.parquet"
    flip(path)
    verify(study_folder, fast=True)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="were written"):
        verify(study_folder, fast=True)


def test_missing_and_added_files_are_named(study_folder):
    (study_folder / "balance/m4/report.json").unlink()
    (study_folder / "balance/m4/mine.txt").touch()
    with pytest.raises(InputError, match=r"(?s)report.json: cannot be read.*mine.txt: not in the manifest"):
        verify(study_folder / "balance/m4")


def test_an_input_that_has_changed_is_named(study_folder):
    root = study_folder.parent.parent
    manifest = study_folder / "train/m4/seed0/manifest.json"
    document = json.loads(manifest.read_text())
    document["inputs"]["weights"]["path"] = str(study_folder / "balance/none/weights.parquet")
    manifest.write_text(json.dumps(document))
    seal(study_folder)
    with pytest.raises(InputError, match="its input weights, .* has changed since it was read"):
        verify(study_folder)
    assert verify(root / "data").n_files > 4


def test_a_file_alone_is_compared_with_its_manifest(study_folder):
    path = study_folder / "label/world.parquet"
    assert verify(path).n_files == 1
    flip(path)
    with pytest.raises(InputError, match=r"world.parquet: it has changed"):
        verify(path)


def test_a_checkout_is_compared_with_dvc_lock(tmp_path):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "a").write_text("a")
    (tmp_path / "out" / "sub" / "b").write_text("bb")
    sums = [hashlib.md5(text.encode()).hexdigest() for text in ("a", "bb")]
    listing = f'[{{"md5": "{sums[0]}", "relpath": "a"}}, {{"md5": "{sums[1]}", "relpath": "sub/b"}}]'
    md5 = hashlib.md5(listing.encode()).hexdigest() + ".dir"
    assert dvc_md5(tmp_path / "out") == md5
    outs = [{"path": "out", "hash": "md5", "md5": md5, "size": 3, "nfiles": 2}]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"s": {"outs": outs}}}))
    (tmp_path / ".dvc").mkdir()
    assert verify(tmp_path).n_files == verify(tmp_path / "out").n_files == 2
    (tmp_path / "out" / "a").write_text("b")
    for path in (tmp_path, tmp_path / "out" / "sub"):
        with pytest.raises(InputError, match="its MD5 sum is not that in"):
            verify(path)


def test_graph_statistics_and_figures_are_compared(study_folder):
    data = study_folder.parent.parent / "data/world/train"
    build_graph([GraphSource("captions", data)], study_folder / "graph", data, GraphOptions())
    (study_folder / "figures").mkdir()
    (study_folder / "report.html").write_text("1")
    listed = with_digest({"page": hashlib.sha256(b"1").hexdigest(), "figures": {}})
    (study_folder / "figures/figures.json").write_text(json.dumps(listed))
    verify(study_folder)
    for name in ("graph/graph.json", "figures/figures.json"):
        content = (study_folder / name).read_bytes()
        (study_folder / name).write_bytes(content.replace(b"1", b"2"))
        with pytest.raises(InputError, match=name):
            verify(study_folder)
        (study_folder / name).write_bytes(content)


def test_a_card_of_an_older_study_is_named(study_folder):
    write_study_cards(study_folder, study_folder / "card")
    study = study_folder / "study.json"
    study.write_text(study.read_text() + "\n")  # the same content, written anew
    with pytest.raises(InputError, match=r"card/m4/manifest.json: its input study, .* has changed"):
        verify(study_folder)


def test_raw_files_of_an_import_are_not_compared(tmp_path):
    (tmp_path / "raw").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "raw" / "a.png")
    import_dataset(tmp_path / "raw", tmp_path / "out", "all", ImportOptions())
    assert "raw files of 1 imports not compared" in verify(tmp_path / "out").summary()


def test_what_nobody_recorded_cannot_be_verified(tmp_path):
    with pytest.raises(InputError, match="no manifest"):
        verify(tmp_path)
