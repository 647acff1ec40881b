"""The registry: what is in it, and that a mistake in it is one clear message."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from evenclip.data.fetch.registry import RawFile, Registry, read_registry
from evenclip.errors import InputError
from support.project import ROOT

PATH = ROOT / "config/datasets.yaml"
NAMES = {
    "coco_2014", "coco_2017", "karpathy_splits", "flickr30k", "flickr8k", "visual_genome", "conceptnet", "visualsem",
    "cc3m", "cc12m", "fairface", "utkface", "miap", "imagenet_val", "cifar100", "caltech101", "cub200", "oxford_pets",
    "vqa_v2", "aro", "sugarcrepe", "idenprof",
}  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(PATH)


def test_every_set_of_the_papers_is_there(registry):
    assert set(registry.datasets) == NAMES


def test_sets_behind_a_login_or_a_form_say_what_to_do(registry):
    by_hand = {name for name, entry in registry.datasets.items() if entry.by_hand}
    assert by_hand == {"flickr30k", "visualsem", "fairface", "utkface", "miap", "imagenet_val", "aro"}
    research_only = {name for name, entry in registry.datasets.items() if entry.terms.accept}
    assert research_only >= {"flickr8k", "flickr30k", "visualsem", "utkface", "imagenet_val"}


def test_checksums_are_those_that_publishers_state(registry):
    def md5(name: str) -> str | None:
        return registry.datasets[name].files[0].md5

    assert md5("cifar100") == "eb9058c3a382ffc7106e4002c42a8d85"
    assert md5("imagenet_val") == "29b22e2961454d5413ddabcf34fc5622"


def test_checksums_agree_with_torchvision(registry):
    folder = Path(importlib.util.find_spec("torchvision").origin).parent / "datasets"  # read, not imported: it is slow
    modules = {
        "oxford_pets": "oxford_iiit_pet",
        "cifar100": "cifar",
        "imagenet_val": "imagenet",
        "caltech101": "caltech",
    }
    for name, module in modules.items():
        text = (folder / f"{module}.py").read_text()
        for file in registry.datasets[name].files:
            assert f'"{file.md5}"' in text and file.path in text


ENTRY = {
    "title": "T", "version": "1", "homepage": "https://example.org", "citation": "C", "layout": "folder", "counts": {},
    "terms": {"licence": "CC0", "summary": "S"},
    "files": [{"path": "a.zip", "url": "https://example.org/a.zip", "bytes": 3, "sha256": "unknown"}],
}  # fmt: skip
FILE = ENTRY["files"][0]


def with_file(**changes) -> dict:
    return {"files": [FILE | changes]}


@pytest.mark.parametrize(("changes", "message"), [
    (with_file(path="../a.zip"), "below the data set's folder"),
    (with_file(path="/etc/a.zip"), "below the data set's folder"),
    (with_file(url="ftp://example.org/a"), "must start with http"),
    (with_file(url="https:///a"), "name a host"),
    (with_file(sha256="ABC"), "sha256"),
    (with_file(md5="0" * 31), "md5"),
    (with_file(bytes=0), "bytes"),
    (with_file(bytes=None), "bytes"),
    (with_file(sha256="0" * 64), "give checksum_from if"),
    (with_file(checksum_from="me"), "give checksum_from if"),
    (with_file(url=None), "by_hand says what to do"),
    (with_file(url=None, mirrors=["https://example.org/b"]), "mirrors without url"),
    ({"by_hand": "Ask."}, "by_hand says what to do"),
    ({"files": [FILE, FILE]}, "the path a.zip occurs twice"),
    ({"files": []}, "files"),
    ({"counts": {"images": {"n": 0}}}, "images"),
    ({"licence": "CC0"}, "unknown key"),
    ({"layout": "flicker8k"}, "layout"),
    ({"terms": {"licence": "CC0"}}, "summary"),
])  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path, changes, message):
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"a": ENTRY | changes}}))
    with pytest.raises(InputError, match=message) as raised:
        read_registry(path)
    assert "datasets.a" in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "datasets: 3", "other: {}", "datasets: {Flickr 8k: {}}"])
def test_what_is_no_registry_is_refused(tmp_path, text):
    (tmp_path / "datasets.yaml").write_text(text)
    with pytest.raises(InputError, match=r"datasets\.yaml"):
        read_registry(tmp_path / "datasets.yaml")


def test_an_unknown_name_gets_the_nearest(registry):
    with pytest.raises(InputError, match="did you mean 'flickr30k'"):
        registry.entry("flickr30")
    with pytest.raises(InputError, match="known: coco_2014, coco_2017"):
        registry.entry("xyz")


def test_a_missing_sha256_is_unknown_and_mirrors_come_last():
    file = RawFile.model_validate(FILE | {"mirrors": ["https://example.net/a.zip"]})
    assert file.sha256 == "unknown"
    assert file.urls == ["https://example.org/a.zip", "https://example.net/a.zip"]
