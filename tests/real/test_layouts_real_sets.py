"""The official files of COCO, SugarCrepe, VALSE, VL-CheckList, FairFace and CelebA are read whole.

Few or none of their photos are there: what is left out for that reason is counted too.
"""

from collections import Counter
from pathlib import Path

import pytest

from evenclip.data.importing import import_dataset
from evenclip.data.layouts import load_layouts
from evenclip.data.layouts.base import Reject
from evenclip.data.options import ImportOptions
from evenclip.data.shards import read_manifest, read_pairs
from evenclip.data.source import Source

pytestmark = pytest.mark.real


@pytest.fixture
def imported(real_data, tmp_path):
    """Import; returns the pairs, and the quarantine's counts."""

    def run(folder: str, split: str, **options) -> tuple[list[dict], dict[str, int]]:
        values = ImportOptions.parse({"max_quarantined_share": 1.0} | options, "test")
        import_dataset(real_data / folder, tmp_path / "out", split, values)
        return read_pairs(tmp_path / "out").to_pylist(), read_manifest(tmp_path / "out")["quarantined"]

    return run


def with_coco_photos(real_data: Path, tmp_path: Path, annotations: str) -> Path:
    """A folder that holds the annotations of another set and COCO's photos."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "annotations").symlink_to(real_data / annotations)
    (root / "images.tar").symlink_to(real_data / "coco" / "images.tar")
    return root


def test_coco_val2017(imported):
    pairs, quarantine = imported("coco", "val2017", layout="coco")
    assert len(pairs) + quarantine["missing_image"] == 5000
    assert {len(row["captions"]) for row in pairs} <= {5, 6, 7}
    assert set(quarantine) == {"missing_image"}


@pytest.mark.parametrize(("split", "n"), [("val2017.mini", 79), ("train2017.mini", 80)])
def test_coco_mini_has_every_photo(split, n, imported):
    pairs, quarantine = imported("coco", split, layout="coco")
    assert (len(pairs), quarantine) == (n, {})
    assert all(len(row["captions"]) >= 5 for row in pairs)


def test_sugarcrepe(real_data, tmp_path, imported):
    pairs, quarantine = imported(with_coco_photos(real_data, tmp_path, "sugarcrepe/data"), "all", layout="sugarcrepe")
    assert (len(pairs), quarantine) == (211, {"missing_image": 7511 - 211})
    assert len(Counter(row["probe"] for row in pairs)) == 7


def test_valse(real_data, tmp_path, imported):
    root = with_coco_photos(real_data, tmp_path, "valse/data")
    pairs, quarantine = imported(root, "all", layout="valse")
    assert len(pairs) + quarantine["missing_image"] == 8782 and 40 <= len(pairs) <= 60
    valid, _ = imported(root, "valid", layout="valse")
    assert {row["key"] for row in valid} == {row["key"] for row in pairs if int(row["votes"]) >= 2}


@pytest.mark.parametrize(
    ("folder", "layout", "split", "n"),
    [("vlchecklist", "vlchecklist", "Relation", 43383), ("fairface", "fairface", "train", 86744),
     ("fairface", "fairface", "val", 10954), ("format_samples", "celeba", "all", 12)],
)  # fmt: skip
def test_files_without_their_photos_name_each_of_them(folder, layout, split, n, real_data, tmp_path):
    root = real_data / folder
    if layout == "celeba":
        root = tmp_path
        sample = real_data / folder / "list_attr_celeba.head12.txt"
        (root / "list_attr_celeba.txt").write_text(sample.read_text())
    with Source(root) as source:
        candidates = list(load_layouts()[layout].find_pairs(source, split, ImportOptions(layout=layout)))
    assert all(isinstance(item, Reject) for item in candidates)
    counts = Counter(item.reason for item in candidates)
    assert counts.pop("missing_image") == n
    assert counts == ({"malformed_row": 1} if layout == "celeba" else {})  # its first line announces 202,599
