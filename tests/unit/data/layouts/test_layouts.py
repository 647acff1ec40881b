"""Each official layout gives its pairs, and what its tables say that is not so goes to quarantine with the reason."""

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from evenclip.data.importing import import_dataset
from evenclip.data.options import ImportOptions, WorldOptions
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.data.world.synthesize import synthesize
from evenclip.errors import InputError
from support.archives import tar_of


def photo(seed: int, width: int = 8, height: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write(root: Path, files: dict[str, Any]) -> Path:
    """Write bytes, text, or anything else as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.fixture
def imported(tmp_path):
    """Import; returns the pairs by key, and the quarantine as {name: reason}."""

    def run(files: dict[str, Any] | Path, split: str = "all", **options: Any):
        source = files if isinstance(files, Path) else write(tmp_path / "in", files)
        values = {"max_quarantined_share": 1.0} | options
        import_dataset(source, tmp_path / "out", split, ImportOptions.parse(values, "test"))
        quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
        pairs = {row["key"]: row for row in read_pairs(tmp_path / "out").to_pylist()}
        return pairs, {row["name"]: row["reason"] for row in quarantine}

    return run


# --- COCO -----------------------------------------------------------------------------------------------------------


def coco(images: dict[int, str], captions: list[tuple[int, int, str]]) -> dict[str, Any]:
    """A captions file as COCO has it."""
    return {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [{"url": "http://example.org", "id": 1, "name": "License"}],
        "images": [{"license": 1, "file_name": name, "height": 12, "width": 8, "id": i} for i, name in images.items()],
        "annotations": [{"image_id": image, "id": number, "caption": text} for number, image, text in captions],
    }


def test_coco_with_its_captions_by_annotation_id(imported):
    names = {9: "000000000009.jpg", 25: "000000000025.jpg", 30: "000000000030.jpg", 34: "000000000034.jpg"}
    said = [(5, 9, "Second."), (3, 9, "First\nline"), (4, 25, "A cat"), (6, 30, "Nobody has it"), (7, 99, "Whose?")]
    files = {
        "annotations/captions_val2017.json": coco(names, said),
        "annotations/captions_train2017.json": coco({1: "000000000001.jpg"}, [(1, 1, "Train")]),
        "annotations/instances_val2017.json": {"images": [], "annotations": []},
        "val2017/000000000009.jpg": photo(1),
        "val2017/000000000025.jpg": photo(2),
        "val2017/000000000034.jpg": photo(3),
    }
    pairs, quarantine = imported(files, split="val2017", layout="coco")
    assert {key: (row["captions"], row["image_id"]) for key, row in pairs.items()} == {
        "000000000009": (["First line", "Second."], "9"), "000000000025": (["A cat"], "25"),
    }  # fmt: skip
    assert quarantine == {
        "000000000030.jpg": "missing_image", "000000000034.jpg": "missing_caption",
        "captions_val2017.json: image 99": "malformed_row",
    }  # fmt: skip
    with pytest.raises(InputError, match="2 files captions_all.json\n.*train2017, val2017"):
        imported(files, layout="coco")
    pairs, _ = imported(files, layout="coco", captions="annotations/captions_val2017.json")
    assert len(pairs) == 2


@pytest.mark.parametrize("file", [{"images": []}, {"images": [{"id": "a"}]}, [1]])
def test_what_is_not_coco_is_an_error(imported, file):
    with pytest.raises(InputError, match="images|file_name"):
        imported({"captions_x.json": file, "a.jpg": photo(1)}, layout="coco")


# --- Karpathy -------------------------------------------------------------------------------------------------------


def karpathy(split: str, number: int, **more: Any) -> dict[str, Any]:
    sentence = {"tokens": ["a"], "raw": f"A  photo {number}.", "imgid": number, "sentid": 5 * number}
    return {"sentids": [5 * number], "imgid": number, "sentences": [sentence], "split": split,
            "filename": f"COCO_val2014_{number:012d}.jpg"} | more  # fmt: skip


def test_karpathy_splits(imported):
    images = [
        karpathy("train", 1, filepath="val2014", cocoid=1), karpathy("restval", 2, cocoid=2), karpathy("test", 3),
        karpathy("test", 4), karpathy("test", 5, sentences=[]),
    ]  # fmt: skip
    files = {f"images/val2014/COCO_val2014_{n:012d}.jpg": photo(n) for n in (1, 2, 3, 5)}
    files["dataset_coco.json"] = {"images": images, "dataset": "coco"}
    pairs, quarantine = imported(files, split="test", layout="karpathy")
    assert {key: row["captions"] for key, row in pairs.items()} == {"COCO_val2014_000000000003": ["A photo 3."]}
    assert quarantine == {
        "COCO_val2014_000000000004.jpg": "missing_image", "COCO_val2014_000000000005.jpg": "missing_caption",
    }  # fmt: skip
    pairs, _ = imported(files, split="train+restval", layout="karpathy")
    assert [(row["split"], row["image_id"]) for row in pairs.values()] == [("train", "1"), ("restval", "2")]
    assert len(imported(files, layout="karpathy")[0]) == 3
    with pytest.raises(InputError, match="no split 'dev'\n.*restval, test, train"):
        imported(files, split="dev", layout="karpathy")


# --- FairFace, CelebA -----------------------------------------------------------------------------------------------


def test_fairface_with_and_without_the_prefix_on_its_names(imported):
    table = """file,age,gender,race,service_test
fairface/val/1.jpg,3-9,Male,East Asian,False
val/2.jpg,50-59,Female,Latino_Hispanic,True
val/3.jpg,50-59,Female,Black,True
val/4.jpg,50-59
val/5.jpg,50-59,?,Black,True
"""
    files = {"fairface_label_val.csv": table, "train/1.jpg": photo(9), "val/1.jpg": photo(1), "val/2.jpg": photo(2),
             "val/5.jpg": photo(5)}  # fmt: skip
    values = {"gender": {"Male": "man", "Female": "woman"}}
    pairs, quarantine = imported(files, split="val", layout="fairface", values=values)
    truth = {key: (row["age"], row["gender"], row["race"], row["captions"]) for key, row in pairs.items()}
    assert truth == {
        "val/1": ("3-9", "man", "East Asian", []), "val/2": ("50-59", "woman", "Latino_Hispanic", []),
    }  # fmt: skip
    assert quarantine == {
        "val/3.jpg": "missing_image", "fairface_label_val.csv:5": "malformed_row", "val/5.jpg": "stray_name",
    }  # fmt: skip
    with pytest.raises(InputError, match="fairface_label_all.csv"):
        imported(files, layout="fairface")
    with pytest.raises(InputError, match="no column 'sex'"):
        imported(files, split="val", layout="fairface", values={"sex": {}})


CELEBA = """4
Bald Male Smiling
000001.jpg -1  1 -1
000002.jpg -1 -1  1
000003.jpg  1  1  0
000004.jpg  1  1  1
"""


def test_celeba_with_its_partition(imported):
    files = {"list_attr_celeba.txt": CELEBA, "img_align_celeba/000001.jpg": photo(1),
             "img_align_celeba/000002.jpg": photo(2)}  # fmt: skip
    pairs, quarantine = imported(files, layout="celeba", values={"Male": {"1": "man", "-1": "woman"}})
    assert [(key, row["Male"], row["Smiling"]) for key, row in pairs.items()] == [
        ("000001", "man", "-1"), ("000002", "woman", "1"),
    ]  # fmt: skip
    assert quarantine == {"list_attr_celeba.txt:5": "malformed_row", "000004.jpg": "missing_image"}
    with pytest.raises(InputError, match="'test' is not there"):
        imported(files, split="test", layout="celeba")
    files["list_eval_partition.txt"] = "000001.jpg 0\n000002.jpg 2\n000004.jpg 1\n"
    assert list(imported(files, split="test", layout="celeba")[0]) == ["000002"]
    files["list_attr_celeba.txt"] = CELEBA.replace("4\n", "202599\n", 1)
    assert imported(files, layout="celeba")[1]["list_attr_celeba.txt:1"] == "malformed_row"


# --- MIAP, and classification sets -----------------------------------------------------------------------------------

MIAP = """ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepictionOf,IsInsideOf,\
GenderPresentation,AgePresentation
a1,/m/01g317,1,0.1,0.2,0.1,0.2,0,0,0,0,0,Predominantly Feminine,Middle
a1,/m/01g317,1,0.3,0.4,0.1,0.2,0,0,0,0,0,Predominantly Feminine,Young
b2,/m/01g317,1,0.1,0.2,0.1,0.2,0,0,0,0,0,Predominantly Masculine,Unknown
c3,/m/01g317,1,0.1,0.2,0.1,0.2,0,0,0,0,0,Unknown,Older
c3,/m/01g317,1,0.1,0.2,0.1,0.2,0,0,0,0,0,Predominantly Masculine,Older
d4,/m/01g317,1,0.1,0.2,0.1,0.2,0,0,0,0,0,Unknown,Unknown
""".replace("\\\n", "")


def test_miap_says_what_is_perceived_where_all_people_are_alike(imported):
    files: dict[str, Any] = {f"val/{name}.jpg": photo(i) for i, name in enumerate(("a1", "b2", "c3"))}
    files["open_images_extended_miap_boxes_val.csv"] = MIAP
    values = {"gender": {"Predominantly Feminine": "woman", "Predominantly Masculine": "man"}}
    pairs, quarantine = imported(files, split="val", layout="miap", values=values)
    assert {key: (row["gender"], row["age"], row["n_people"]) for key, row in pairs.items()} == {
        "a1": ("woman", "", "2"), "b2": ("man", "", "1"), "c3": ("", "Older", "2"),
    }  # fmt: skip
    assert quarantine == {"d4.jpg": "missing_image"}
    with pytest.raises(InputError, match="boxes_test.csv"):
        imported(files, split="test", layout="miap")


def devkit(words: list[tuple[str, str]]) -> bytes:
    """meta.mat as the kit has it: a structure array of synsets."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O")]
    rows = np.array([(i, wnid, text, "a gloss") for i, (wnid, text) in enumerate(words, start=1)], dtype=kind)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": rows[:, None]})
    return buffer.getvalue()


def test_imagenets_validation_set(imported):
    kit = "ILSVRC2012_devkit_t12/data"
    files = {
        f"{kit}/meta.mat": devkit([("n02119789", "kit fox, Vulpes macrotis"), ("n02100735", "English setter")]),
        f"{kit}/ILSVRC2012_validation_ground_truth.txt": "2\n1\n7\n",
        **{f"ILSVRC2012_val_{n:08d}.JPEG": photo(n) for n in (1, 2, 3, 4)},
    }
    pairs, quarantine = imported(files, split="val", layout="imagenet_val")
    assert {key: (row["synset"], row["class"]) for key, row in pairs.items()} == {
        "ILSVRC2012_val_00000001": ("n02100735", "English setter"), "ILSVRC2012_val_00000002": ("n02119789", "kit fox"),
    }  # fmt: skip
    assert set(quarantine) == {"ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000004.JPEG"}
    with pytest.raises(InputError, match="not readable"):
        imported(files | {f"{kit}/meta.mat": b"MATLAB"}, layout="imagenet_val")


def cifar(n: int, seed: int) -> dict[bytes, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return {b"data": pixels, b"fine_labels": [i % 2 for i in range(n)], b"coarse_labels": [0] * n, b"filenames": []}


def test_cifar100(tmp_path, imported):
    train, test = cifar(3, 0), cifar(2, 1)
    meta = {b"fine_label_names": [b"aquarium_fish", b"bear"], b"coarse_label_names": [b"large_carnivores"]}
    parts = {"train": train, "test": test, "meta": meta}
    files = {f"cifar-100-python/{name}": pickle.dumps(part, 2) for name, part in parts.items()}
    pairs, quarantine = imported(files, split="train", layout="cifar100")
    assert {key: (row["class"], row["superclass"]) for key, row in pairs.items()} == {
        "train_00000": ("aquarium fish", "large carnivores"), "train_00001": ("bear", "large carnivores"),
        "train_00002": ("aquarium fish", "large carnivores"),
    }  # fmt: skip
    assert quarantine == {}
    image = Image.open(io.BytesIO(dict(iterate_images(tmp_path / "out"))["train_00001"]))
    expected = Image.fromarray(train[b"data"][1].reshape(3, 32, 32).transpose(1, 2, 0))
    assert (image.size, image.mode) == ((32, 32), "RGB")
    grey = [np.asarray(picture.convert("L"), dtype=float).ravel() for picture in (image, expected)]
    assert np.corrcoef(*grey)[0, 1] > 0.99  # JPEG keeps the brightness even of noise
    assert len(imported(files, layout="cifar100")[0]) == 5


def test_a_pickle_that_would_run_code_is_refused(tmp_path, imported):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    files = {"train": pickle.dumps({b"data": Bomb()}), "meta": pickle.dumps({})}
    for part in ({"meta": pickle.dumps({b"fine_label_names": Bomb()})}, {"meta": b"x"}):
        with pytest.raises(InputError, match="not CIFAR-100"):
            imported(files | part, split="train", layout="cifar100")
    assert not (tmp_path / "ran").exists()


def test_cub200(imported):
    files = {
        "CUB_200_2011/images.txt": "1 001.Black_footed_Albatross/a_1.jpg\n2 002.Laysan_Albatross/b_2.jpg\n3 x/c_3.jpg",
        "CUB_200_2011/image_class_labels.txt": "1 1\n2 2\n3 9\n",
        "CUB_200_2011/classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
        "CUB_200_2011/train_test_split.txt": "1 1\n2 0\n3 1\n",
        "CUB_200_2011/images/001.Black_footed_Albatross/a_1.jpg": photo(1),
        "CUB_200_2011/images/002.Laysan_Albatross/b_2.jpg": photo(2),
        "CUB_200_2011/images/x/c_3.jpg": photo(3),
    }
    pairs, quarantine = imported(files, split="train", layout="cub200")
    assert {key: row["class"] for key, row in pairs.items()} == {
        "001_Black_footed_Albatross/a_1": "Black footed Albatross"
    }
    assert quarantine == {"x/c_3.jpg": "malformed_row"}
    assert len(imported(files, layout="cub200")[0]) == 2


def test_oxford_pets(imported):
    files = {
        "annotations/trainval.txt": "great_pyrenees_12 16 2 11\nAbyssinian_100 1 1 1\n",
        "annotations/test.txt": "#Image CLASS-ID SPECIES BREED ID\nAbyssinian_2 1 1 1\nAbyssinian_3 1 3 1\n",
        "images/great_pyrenees_12.jpg": photo(1),
        "images/Abyssinian_100.jpg": photo(2),
        "images/Abyssinian_7.jpg": photo(3),
    }
    pairs, quarantine = imported(files, split="trainval", layout="oxford_pets")
    assert {key: (row["class"], row["species"]) for key, row in pairs.items()} == {
        "great_pyrenees_12": ("great pyrenees", "dog"), "Abyssinian_100": ("abyssinian", "cat"),
    }  # fmt: skip
    assert quarantine == {}
    _, quarantine = imported(files, layout="oxford_pets")
    assert quarantine == {"Abyssinian_2.jpg": "missing_image", "test.txt:3": "malformed_row"}


# --- compositional tests --------------------------------------------------------------------------------------------


def test_sugarcrepe_shows_one_photo_in_many_items(imported):
    item = {"filename": "000000000001.jpg", "caption": "A red car. ", "negative_caption": "A blue car."}
    files = {
        "data/swap_att.json": {"0": item, "1": item | {"caption": "Two cars"}},
        "data/add_obj.json": {"0": item, "7": item | {"filename": "000000000002.jpg"}},
        "val2017/000000000001.jpg": photo(1),
    }
    pairs, quarantine = imported(files, layout="sugarcrepe")
    assert {key: (row["probe"], row["caption"], row["foil"]) for key, row in pairs.items()} == {
        "add_obj_0": ("add_obj", "A red car.", "A blue car."), "swap_att_0": ("swap_att", "A red car.", "A blue car."),
        "swap_att_1": ("swap_att", "Two cars", "A blue car."),
    }  # fmt: skip
    assert quarantine == {"add_obj 7": "missing_image"}
    assert {row["image"] for row in pairs.values()} == {"val2017/000000000001.jpg"}
    assert list(imported(files, split="add_obj", layout="sugarcrepe")[0]) == ["add_obj_0"]
    with pytest.raises(InputError, match="no swap_rel.json"):
        imported(files, split="swap_rel", layout="sugarcrepe")


def test_the_same_photo_in_another_file_is_still_a_duplicate(imported):
    item = {"filename": "1.jpg", "caption": "A", "negative_caption": "B"}
    files = {"data/x.json": {"0": item, "1": item | {"filename": "2.jpg"}}, "1.jpg": photo(1), "2.jpg": photo(1)}
    pairs, quarantine = imported(files, layout="sugarcrepe")
    assert (list(pairs), quarantine) == (["x_0"], {"2.jpg": "duplicate_image"})


def test_the_embedded_world_writes_sugarcrepe_as_it_is_read(tmp_path, imported):
    synthesize(tmp_path / "world", "probes", 20, 0, WorldOptions(image_px=32))
    pairs, quarantine = imported(tmp_path / "world", layout="sugarcrepe", captions="knowledge/sugarcrepe")
    world = {row["key"]: row for row in read_pairs(tmp_path / "world").to_pylist()}
    assert quarantine == {} and len(pairs) == 20
    for row in pairs.values():
        own = world[row["image"].removesuffix(".jpg")]
        assert (row["probe"], row["caption"], row["foil"]) == (own["probe"], own["caption"], own["foil"])
        assert row["sha256"] == own["sha256"]


def test_valse_as_its_annotators_agreed(imported):
    item = {"dataset": "coco2017", "image_file": "1.jpg", "caption": "One dog.", "foil": "Two dogs.",
            "mturk": {"foil": 0, "caption": 3, "other": 0}}  # fmt: skip
    files = {
        "data/plurals.json": {"plurals:coco2017:1": item, "b": item | {"mturk": {"foil": 2, "caption": 1, "other": 0}}},
        "data/counting-hard.json": {"c": item | {"image_file": "2.jpg"}},
        "images/1.jpg": photo(1),
    }
    pairs, quarantine = imported(files, split="valid", layout="valse")
    assert {key: (row["probe"], row["foil"], row["votes"]) for key, row in pairs.items()} == {
        "plurals_plurals:coco2017:1": ("plurals", "Two dogs.", "3")
    }
    assert quarantine == {"counting-hard c": "missing_image"}
    assert len(imported(files, layout="valse")[0]) == 2
    with pytest.raises(InputError, match="no split 'test'"):
        imported(files, split="test", layout="valse")


def test_vlchecklist_names_its_probes_by_their_path(imported):
    files = {
        "data/Relation/vg/spatial.json": [["VG_100K/1.jpg", {"POS": ["dog ON mat"], "NEG": ["dog under mat"]}], ["x"]],
        "data/Attribute/vg/color.json": [["VG_100K/1.jpg", {"POS": ["red mat"], "NEG": ["blue mat"]}]],
        "VG_100K/1.jpg": photo(1), "VG_100K_2/1.jpg": photo(2),
    }  # fmt: skip
    pairs, quarantine = imported(files, layout="vlchecklist")
    assert {row["probe"]: (row["caption"], row["foil"]) for row in pairs.values()} == {
        "attribute_vg_color": ("red mat", "blue mat"), "relation_vg_spatial": ("dog ON mat", "dog under mat"),
    }  # fmt: skip
    assert quarantine == {"data/Relation/vg/spatial.json: item 1": "malformed_row"}
    assert len(imported(files, split="Attribute", layout="vlchecklist")[0]) == 1


def test_aro_cuts_the_image_to_its_box(tmp_path, imported):
    box = {"bbox_x": 2, "bbox_y": 3, "bbox_w": 4, "bbox_h": 100}
    item = {"image_id": 1, "image_path": "1.jpg", "true_caption": "the dog is on the mat",
            "false_caption": "the mat is on the dog", "relation_name": "on", **box}  # fmt: skip
    named = {key: value for key, value in item.items() if key != "relation_name"} | {"attributes": ["red", "wet"]}
    files = {
        "visual_genome_relation.json": [item, item | {"bbox_x": 50}],
        "visual_genome_attribution.json": [named],
        "images/1.jpg": photo(1, width=8, height=12),
    }
    pairs, quarantine = imported(files, layout="aro")
    assert {key: (row["about"], row["width"], row["height"]) for key, row in pairs.items()} == {
        "attribution_0": ("red / wet", 4, 9), "relation_0": ("on", 4, 9),
    }  # fmt: skip
    assert quarantine == {"images/1.jpg": "unreadable_image"}
    content = dict(iterate_images(tmp_path / "out"))["relation_0"]
    whole = np.asarray(Image.open(io.BytesIO(files["images/1.jpg"])), dtype=int)
    part = np.asarray(Image.open(io.BytesIO(content)), dtype=int)
    assert np.abs(part - whole[3:, 2:6]).mean() < 12  # encoded once more
    assert list(imported(files, split="attribution", layout="aro")[0]) == ["attribution_0"]


# --- all of them ----------------------------------------------------------------------------------------------------


def test_captions_of_visual_genome_are_all_region_phrases(imported, tmp_path):
    def item(number: int, *phrases: str) -> dict[str, Any]:
        box = {"x": 0, "y": 0, "width": 5, "height": 5, "image_id": number}
        return {"id": number, "regions": [{"region_id": 10 * number, "phrase": text, **box} for text in phrases]}

    items = [item(2, "the clock is green", "shade\nis along", "the clock is green"), item(1), item(7, "nothing")]
    files = {"VG_100K/1.jpg": photo(1), "VG_100K_2/2.jpg": photo(2)}
    source = write(tmp_path / "in", files)
    with zipfile.ZipFile(source / "region_descriptions.json.zip", "w") as archive:
        archive.writestr("region_descriptions.json", json.dumps(items))
    pairs, quarantine = imported(source, layout="visual_genome")
    assert list(pairs) == ["2"] and pairs["2"]["captions"] == ["the clock is green", "shade is along"]
    assert pairs["2"]["image_id"] == "2"
    assert quarantine == {"1.jpg": "missing_caption", "7.jpg": "missing_image"}
    with pytest.raises(InputError, match="no official splits"):
        imported(source, split="train", layout="visual_genome")


@pytest.mark.parametrize("layout", ["coco", "karpathy", "sugarcrepe", "valse", "vlchecklist", "aro"])
def test_annotations_may_lie_in_an_archive_when_they_are_named(layout, tmp_path, imported):
    names = {"coco": "captions_x.json", "karpathy": "dataset_x.json", "aro": "visual_genome_relation.json"}
    name = f"a/{names.get(layout, 'x.json')}"
    item = {"filename": "1.jpg", "caption": "A", "negative_caption": "B", "image_file": "1.jpg", "foil": "B",
            "mturk": {"caption": 3}, "image_path": "1.jpg", "true_caption": "A", "false_caption": "B",
            "bbox_x": 0, "bbox_y": 0, "bbox_w": 5, "bbox_h": 5}  # fmt: skip
    content = {
        "coco": coco({1: "1.jpg"}, [(1, 1, "A")]),
        "karpathy": {"images": [karpathy("test", 1, filename="1.jpg")]},
        "vlchecklist": [["1.jpg", {"POS": ["A"], "NEG": ["B"]}]],
        "aro": [item],
    }.get(layout, {"0": item})
    write(tmp_path / "in", {"1.jpg": photo(1)})
    text = json.dumps(content).encode()
    with tarfile.open(tmp_path / "in" / "annotations.tar", "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    assert len(imported(tmp_path / "in", layout=layout, captions=name)[0]) == 1
    with pytest.raises(InputError, match="no .json file at"):
        imported(tmp_path / "in", layout=layout)


@pytest.mark.parametrize("layout", ["coco", "karpathy", "sugarcrepe", "valse", "vlchecklist", "aro"])
def test_broken_json_is_an_input_error_and_leaves_nothing(layout, tmp_path, imported):
    names = {"coco": "captions_x.json", "karpathy": "dataset_x.json", "aro": "visual_genome_relation.json"}
    with pytest.raises(InputError, match="not readable JSON"):
        imported({names.get(layout, "x.json"): '{"images": [', "1.jpg": photo(1)}, layout=layout)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# --- WebDataset -----------------------------------------------------------------------------------------------------


def test_class_numbers_of_clip_benchmark_get_their_names(imported):
    tar = tar_of({"s0000000.jpg": photo(0), "s0000000.cls": b"1", "s0000001.jpg": photo(1), "s0000001.cls": b"0"})
    files = {"test/0.tar": tar, "classnames.txt": "police officer\nchef\n"}
    pairs, _ = imported(files, "test", layout="webdataset", caption_template="a photo of a {class}")
    assert {key: (row["class"], row["captions"]) for key, row in pairs.items()} == {
        "test/s0000000": ("chef", ["a photo of a chef"]),
        "test/s0000001": ("police officer", ["a photo of a police officer"]),
    }
    pairs, _ = imported(files, "test", layout="webdataset")
    assert pairs["test/s0000000"]["captions"] == []


@pytest.mark.parametrize("names", ["police officer\n", None])
def test_a_class_number_without_a_name_is_an_error(names, imported):
    files = {"0.tar": tar_of({"a.jpg": photo(0), "a.cls": b"1"})} | ({"classnames.txt": names} if names else {})
    with pytest.raises(InputError, match="class '1' has no name"):
        imported(files, layout="webdataset")


@pytest.mark.parametrize(("kind", "captions"), [("retrieval", ["a dog", "a cat"]), ("other", ["a dog a cat"])])
def test_lines_are_captions_where_clip_benchmark_says_retrieval(kind, captions, imported):
    files = {"0.tar": tar_of({"a.jpg": photo(0), "a.txt": b"a dog\na cat"}), "dataset_type.txt": kind}
    pairs, _ = imported(files, layout="webdataset")
    assert pairs["a"]["captions"] == captions


@pytest.mark.parametrize(
    ("values", "error"), [({"sex": {"f": "woman", "m": "man"}}, None), ({"sx": {}}, "no column 'sx'")]
)
def test_values_of_columns_are_named_in_webdataset_too(values, error, imported):
    record = {"caption": "a person", "sex": "f"}
    files = {"0.tar": tar_of({"a.jpg": photo(0), "a.json": json.dumps(record).encode()})}
    if error:
        with pytest.raises(InputError, match=error):
            imported(files, layout="webdataset", values=values)
    else:
        assert imported(files, layout="webdataset", values=values)[0]["a"]["sex"] == "woman"


# --- names of images --------------------------------------------------------------------------------------------------


def test_names_may_differ_in_case_if_one_image_fits(imported):
    table = "image,caption\nimg_1.jpg,one\nA.JPG,two\nb.Jpg,both fit\n"
    files = {"IMG_1.JPG": photo(1), "a.jpg": photo(2), "A.JPG": photo(3), "b.jpg": photo(4), "B.jpg": photo(5)}
    pairs, quarantine = imported(files | {"c.csv": table}, captions="c.csv")
    assert {row["captions"][0] for row in pairs.values()} == {"one", "two"} and quarantine["b.Jpg"] == "missing_image"
