"""For every layout: one broken record and one broken photo among good ones cost no more than themselves, and count."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from evenclip.data.importing import import_dataset
from evenclip.data.layouts import load_layouts
from evenclip.data.options import ImportOptions
from evenclip.data.shards import read_manifest, read_pairs
from evenclip.errors import InputError
from support.archives import tar_of


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


GOOD, ALSO_GOOD, CUT = photo(1), photo(2), photo(3)[:600]


def table(*rows: str) -> bytes:
    return "\n".join([*rows, ""]).encode()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def three(pattern: str) -> dict[str, bytes]:
    """Photos 1 and 2, and 3, which is cut off."""
    return {pattern.format(n): content for n, content in ((1, GOOD), (2, ALSO_GOOD), (3, CUT))}


def parquet_of(images: list[bytes | None]) -> bytes:
    column = pa.array([{"bytes": image, "path": None} for image in images])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": column, "caption": ["a"] * len(images)}), buffer)
    return buffer.getvalue()


def meta_mat() -> bytes:
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": np.array([(1, "n01", "tench"), (2, "n02", "crane")], dtype=kind)[:, None]})
    return buffer.getvalue()


def cifar() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    train = {b"data": pixels, b"fine_labels": [0, 1, 7], b"coarse_labels": [0, 0, 0]}
    meta = {b"fine_label_names": [b"fish", b"bear"], b"coarse_label_names": [b"animals"]}
    return {"train": pickle.dumps(train, 2), "meta": pickle.dumps(meta, 2)}


def karpathy(number: int) -> dict[str, Any]:
    return {"filename": f"{number}.jpg", "split": "test", "sentences": [{"raw": "A photo"}]}


def choice(number: int) -> dict[str, Any]:
    return {"filename": f"{number}.jpg", "caption": "a", "negative_caption": "b"}


def valse(number: int) -> dict[str, Any]:
    return {"image_file": f"{number}.jpg", "caption": "a", "foil": "b", "mturk": {"caption": 3}}


def aro(number: int) -> dict[str, Any]:
    box = {"bbox_x": 0, "bbox_y": 0, "bbox_w": 20, "bbox_h": 20}
    return {"image_path": f"{number}.jpg", "true_caption": "a", "false_caption": "b", "relation_name": "on"} | box


CUB = {
    "images.txt": table("1 a/1.jpg", "2 a/2.jpg", "3 a/3.jpg", "4"),
    "image_class_labels.txt": table("1 1", "2 1", "3 1"), "classes.txt": table("1 001.Crane"),
    "train_test_split.txt": table("1 1", "2 1", "3 1"),
}  # fmt: skip
MIAP = "ImageID,GenderPresentation,AgePresentation"

# layout: split, files, the broken record's name and, where it is a file of its own, the broken photo's
CASES: dict[str, tuple[str, dict[str, bytes], str, str | None]] = {
    "folder": ("all", three("{}.jpg") | {"captions.csv": table("image,caption", "1.jpg,a", "2.jpg,b", "3.jpg,c", "x")},
               "captions.csv:5", "3.jpg"),
    "webdataset": ("all", {"0.tar": tar_of(three("{}.jpg") | {f"{n}.txt": b"a" for n in "123"} |
                                           {"4.jpg": photo(4), "4.json": b"{"})}, "4.jpg", "3.jpg"),
    "flickr8k": ("all", three("photos/{}.jpg") | {"Flickr8k.token.txt": table("1.jpg#0\ta", "2.jpg#0\ta", "3.jpg#0\ta",
                                                                              "no tab")},
                 "Flickr8k.token.txt:4", "photos/3.jpg"),
    "parquet": ("all", {"a.parquet": parquet_of([GOOD, ALSO_GOOD, CUT, None])}, "a.parquet:3", "a.parquet:2"),
    "coco": ("all", three("{}.jpg") | {"captions_x.json": as_json({
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2, 3)],
        "annotations": [*({"id": n, "image_id": n, "caption": "a"} for n in (1, 2, 3)), {"id": 4}]})},
        "captions_x.json: annotations, item 6", "3.jpg"),
    "karpathy": ("test", three("{}.jpg") | {"dataset_x.json": as_json(
        {"images": [karpathy(1), karpathy(2), karpathy(3), {"split": "test"}]})}, "dataset_x.json: image 3", "3.jpg"),
    "fairface": ("val", three("val/{}.jpg") | {"fairface_label_val.csv": table(
        "file,age,gender,race,service_test", *(f"val/{n}.jpg,3-9,Male,Black,True" for n in (1, 2, 3)), "4.jpg,3-9")},
        "fairface_label_val.csv:5", "val/3.jpg"),
    "celeba": ("all", three("{}.jpg") | {"list_attr_celeba.txt": table("4", "Male Young", "1.jpg 1 1", "2.jpg 1 -1",
                                                                       "3.jpg 1 1", "4.jpg 1")},
               "list_attr_celeba.txt:6", "3.jpg"),
    "miap": ("val", three("{}.jpg") | {"open_images_extended_miap_boxes_val.csv": table(
        MIAP, *(f"{n},Unknown,Young" for n in (1, 2, 3)), "4,Unknown")}, "open_images_extended_miap_boxes_val.csv:5",
        "3.jpg"),
    "imagenet_val": ("val", three("ILSVRC2012_val_0000000{}.JPEG") | {
        "ILSVRC2012_val_00000004.JPEG": photo(4), "meta.mat": meta_mat(),
        "ILSVRC2012_validation_ground_truth.txt": table("1", "2", "2", "9")},
        "ILSVRC2012_val_00000004.JPEG", "ILSVRC2012_val_00000003.JPEG"),
    "cifar100": ("train", cifar(), "train_00002", None),
    "cub200": ("train", three("images/a/{}.jpg") | CUB, "images.txt:4", "images/a/3.jpg"),
    "oxford_pets": ("test", three("{}.jpg") | {"test.txt": table("1 1 1 1", "2 1 2 1", "3 1 2 1", "4 1")},
                    "test.txt:4", "3.jpg"),
    "sugarcrepe": ("all", three("{}.jpg") | {"swap_att.json": as_json(
        {"0": choice(1), "1": choice(2), "2": choice(3), "3": {"filename": 7}})}, "swap_att.json: item 3", "3.jpg"),
    "valse": ("valid", three("{}.jpg") | {"plurals.json": as_json(
        {"a": valse(1), "b": valse(2), "c": valse(3), "d": {}})}, "plurals.json: item d", "3.jpg"),
    "vlchecklist": ("all", three("{}.jpg") | {"data/x.json": as_json(
        [*([f"{n}.jpg", {"POS": ["a"], "NEG": ["b"]}] for n in (1, 2, 3)), ["4.jpg"]])},
        "data/x.json: item 3", "3.jpg"),
    "aro": ("relation", three("{}.jpg") | {"visual_genome_relation.json": as_json([aro(1), aro(2), aro(3), {}])},
            "visual_genome_relation.json: item 3", "3.jpg"),
    "visual_genome": ("all", three("VG_100K/{}.jpg") | {"region_descriptions.json": as_json(
        [*({"id": n, "regions": [{"phrase": "a"}]} for n in (1, 2, 3)), {"id": 4}])},
        "region_descriptions.json: item 3", "VG_100K/3.jpg"),
}  # fmt: skip


def test_every_layout_is_here():
    assert set(CASES) == set(load_layouts())


def imported(layout: str, tmp_path: Path, allowed: float) -> Path:
    split, files, _, _ = CASES[layout]
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    captions = "captions.csv" if layout == "folder" else None
    options = ImportOptions(layout=layout, captions=captions, max_quarantined_share=allowed)
    import_dataset(tmp_path / "in", tmp_path / "out", split, options)
    return tmp_path / "out"


@pytest.mark.parametrize("layout", CASES)
def test_a_bad_record_is_quarantined_and_counted(layout, tmp_path):
    out = imported(layout, tmp_path, allowed=0.5)
    _, _, record, cut = CASES[layout]
    quarantine = {row["name"]: row["reason"] for row in pq.read_table(out / "quarantine.parquet").to_pylist()}
    assert quarantine.pop(record) == "malformed_row"
    assert quarantine == ({cut: "unreadable_image"} if cut else {})
    assert len(read_pairs(out)) == 2
    manifest = read_manifest(out)
    assert manifest["n_quarantined"] == sum(manifest["quarantined"].values()) == 1 + (cut is not None)


@pytest.mark.parametrize("layout", CASES)
def test_more_than_the_share_allowed_is_an_error_that_names_them(layout, tmp_path):
    with pytest.raises(InputError, match="records cannot be used") as raised:
        imported(layout, tmp_path, allowed=0.1)
    assert CASES[layout][2] in str(raised.value)
    assert not (tmp_path / "out").exists()
