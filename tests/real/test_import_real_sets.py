"""The real sets come in whole, in their official layouts; counts are those of shared/data/SOURCES.md."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evenclip.data.importing import import_dataset
from evenclip.data.options import ImportOptions
from evenclip.data.shards import read_manifest, read_pairs, verify_dataset
from evenclip.label import LabelOptions, label_dataset
from evenclip.options import read_yaml
from support.project import ROOT

pytestmark = pytest.mark.real
CONFIG = ROOT / "config"
STUDY = CONFIG / "studies" / "flickr8k.yaml"


@pytest.fixture(scope="module")
def flickr8k(real_data, tmp_path_factory) -> Path:
    """Every photo of Flickr8k as a data folder."""
    out = tmp_path_factory.mktemp("flickr8k") / "all"
    import_dataset(real_data / "flickr8k", out, "all", ImportOptions(layout="flickr8k"))
    return out


def study_options(name: str) -> ImportOptions:
    return ImportOptions.parse(read_yaml(STUDY)["data"][name]["options"], str(STUDY))


def test_flickr8k_all(flickr8k):
    manifest = read_manifest(flickr8k)
    assert (manifest["n"], manifest["quarantined"]) == (7090, {"duplicate_image": 1, "stray_name": 1})
    quarantine = pq.read_table(flickr8k / "quarantine.parquet").to_pylist()
    assert "2258277193_586949ec62.jpg.1" in [row["name"] for row in quarantine if row["reason"] == "stray_name"]
    assert pc.unique(pc.list_value_length(read_pairs(flickr8k, ["captions"]).column("captions"))).to_pylist() == [5]
    assert verify_dataset(flickr8k) == 7090


@pytest.mark.parametrize(("split", "n"), [("train", 5997), ("dev", 1000)])
def test_flickr8k_splits(split, n, real_data, tmp_path):
    import_dataset(real_data / "flickr8k", tmp_path / split, split, ImportOptions(layout="flickr8k", max_px=64))
    manifest = read_manifest(tmp_path / split)
    assert manifest["n"] + manifest["quarantined"].get("duplicate_image", 0) == n
    assert manifest["quarantined"]["stray_name"] == 1


def test_the_captions_file_and_our_shards_agree(flickr8k, real_data, tmp_path):
    import_dataset(real_data / "flickr8k", tmp_path / "csv", "all", ImportOptions(captions="captions.txt"))
    import_dataset(flickr8k, tmp_path / "tars", "all", ImportOptions(layout="webdataset"))
    content = read_manifest(flickr8k)["content"]
    assert read_manifest(tmp_path / "csv")["content"] == content
    assert read_manifest(tmp_path / "tars")["content"] == content


def test_utkface(real_data, tmp_path):
    import_dataset(real_data / "utkface", tmp_path / "out", "all", study_options("utkface"))
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["n"], manifest["quarantined"]) == (2996, {"duplicate_image": 4, "stray_name": 5})
    table = read_pairs(tmp_path / "out", ["gender", "race"]).group_by(["gender", "race"]).aggregate([([], "count_all")])
    assert {row["gender"] for row in table.to_pylist()} == {"man", "woman"}
    assert all(row["count_all"] in (299, 300) for row in table.to_pylist())


def test_imagenet_sample(real_data, tmp_path):
    import_dataset(real_data / "imagenet_sample", tmp_path / "out", "all", study_options("imagenet_sample"))
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["n"], manifest["n_quarantined"]) == (500, 0)
    assert "great_white_shark" in read_pairs(tmp_path / "out", ["class"]).column("class").to_pylist()


def test_idenprof(real_data, tmp_path):
    options = ImportOptions(name_pattern=r"(?:.*/)?train/(?P<profession>\w+)/.*")
    import_dataset(real_data / "idenprof" / "idenprof.tar", tmp_path / "out", "all", options)
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["n"], manifest["quarantined"]) == (2972, {"duplicate_image": 28})
    assert pc.count_distinct(read_pairs(tmp_path / "out", ["profession"]).column("profession")).as_py() == 10


# Photos whose captions name only men, and only women. SOURCES.md counted with the test split's 1,000 photos, which are
# not there, and with fewer words; so its counts are not the bounds, its skews are.
@pytest.mark.parametrize(
    ("target", "men_only", "women_only"),
    [("skateboard", 171, 6), ("motorcycle", 103, 1), ("soccer", 94, 12), ("dress", 5, 129), ("pink", 36, 201)],
)
def test_flickr8k_is_skewed_as_its_source_says(target, men_only, women_only, flickr8k, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "labels" / "flickr8k.parquet"
    if not out.exists():
        label_dataset(flickr8k, CONFIG / "lexicons" / "flickr8k.yaml", out, LabelOptions())
    labels = pq.read_table(out)
    man, woman = labels.column("sensitive.gender.man"), labels.column("sensitive.gender.woman")
    there = labels.column(f"target.{target}")
    count = [pc.sum(pc.and_(there, pc.and_not(first, other))).as_py() for first, other in ((man, woman), (woman, man))]
    assert count == [men_only, women_only]
