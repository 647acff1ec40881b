"""Every named data set goes through the photo study by a change of one block: official files in, metrics out.

The questions of VQA v2 are read by models, not by projections: test_questions.py and test_run.py of vqa walk them.
"""

import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from evenclip.cli import app
from evenclip.data.shards import read_pairs
from evenclip.model.clip import create_clip, save_clip
from evenclip.options import read_yaml, repeated
from evenclip.study.study import Study
from evenclip.train import TrainOptions, train_models
from support.tiny_training import write_model, write_weights

ROOT = Path(__file__).parents[3]
GENDER = {"kind": "recognition", "column": "gender", "prompts": "perceived_gender"}
ASSOCIATION = {"kind": "association", "column": "gender", "prompts": "flickr8k_objects"}
RETRIEVAL = {"kind": "retrieval"}


def photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def photos(*paths: str) -> dict[str, bytes]:
    return {path: photo(number) for number, path in enumerate(paths)}


def coco() -> dict[str, Any]:
    names = [f"{i:012d}.jpg" for i in range(1, 13)]
    images = [{"id": i, "file_name": name, "height": 16, "width": 16} for i, name in enumerate(names, start=1)]
    said = [{"id": i, "image_id": i, "caption": f"a man with {i} dogs"} for i in range(1, 13)]
    captions = {"info": {}, "licenses": [], "images": images, "annotations": said}
    return {"annotations/captions_val2017.json": captions, **photos(*(f"val2017/{name}" for name in names))}


def karpathy() -> dict[str, Any]:
    names = [f"{i}.jpg" for i in range(12)]
    images = [
        {"sentids": [i], "imgid": i, "split": "test", "filename": name,
         "sentences": [{"tokens": ["a"], "raw": f"A dog runs {i}.", "imgid": i, "sentid": i}]}
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {
        "dataset_flickr30k.json": {"images": images, "dataset": "flickr30k"},
        **photos(*(f"flickr30k-images/{n}" for n in names)),
    }


def flickr8k() -> dict[str, Any]:
    names = [f"{i}.jpg" for i in range(12)]
    token = "".join(f"{name}#{k}\ta child {k} plays {name[0]}\n" for name in names for k in range(5))
    return {
        "Flickr8k.token.txt": token, "Flickr_8k.testImages.txt": "\n".join(names),
        **photos(*(f"Flicker8k_Dataset/{name}" for name in names)),
    }  # fmt: skip


def fairface() -> dict[str, Any]:
    rows = [f"val/{i}.jpg,20-29,{('Male', 'Female')[i % 2]},Black,False" for i in range(1, 9)]
    return {
        "fairface_label_val.csv": "\n".join(["file,age,gender,race,service_test", *rows]),
        **photos(*(f"val/{i}.jpg" for i in range(1, 9))),
    }


def miap() -> dict[str, Any]:
    header = "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepictionOf,"
    header += "IsInsideOf,GenderPresentation,AgePresentation"
    sides = ("Predominantly Masculine", "Predominantly Feminine")
    rows = [f"a{i},/m/01g317,1,0.1,0.2,0.1,0.2,0,0,0,0,0,{sides[i % 2]},Middle" for i in range(8)]
    return {
        "open_images_extended_miap_boxes_test.csv": "\n".join([header, *rows]),
        **photos(*(f"test/a{i}.jpg" for i in range(8))),
    }


def imagenet() -> dict[str, Any]:
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O")]
    words = [("n02119789", "kit fox, Vulpes macrotis"), ("n01440764", "tench, Tinca tinca")]
    rows = np.array([(i, wnid, text, "a gloss") for i, (wnid, text) in enumerate(words, start=1)], dtype=kind)
    buffer, kit = io.BytesIO(), "ILSVRC2012_devkit_t12/data"
    savemat(buffer, {"synsets": rows[:, None]})
    return {
        f"{kit}/meta.mat": buffer.getvalue(), f"{kit}/ILSVRC2012_validation_ground_truth.txt": "2\n1\n1\n2\n",
        **photos(*(f"ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2, 3, 4))),
    }  # fmt: skip


def cifar100() -> dict[str, Any]:
    def part(seed: int) -> dict[bytes, Any]:
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 3072), dtype=np.uint8)
        return {
            b"data": pixels, b"fine_labels": [i % 2 for i in range(6)], b"coarse_labels": [0] * 6, b"filenames": [],
        }  # fmt: skip

    meta = {b"fine_label_names": [b"aquarium_fish", b"bear"], b"coarse_label_names": [b"large_carnivores"]}
    files = {"train": part(0), "test": part(1), "meta": meta}
    return {f"cifar-100-python/{name}": pickle.dumps(content, 2) for name, content in files.items()}


def cub200() -> dict[str, Any]:
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    paths = [f"{classes[i % 2]}/b_{i}.jpg" for i in range(6)]
    tables = {
        "images": [f"{i} {path}" for i, path in enumerate(paths, start=1)],
        "image_class_labels": [f"{i + 1} {i % 2 + 1}" for i in range(6)],
        "classes": [f"{i} {name}" for i, name in enumerate(classes, start=1)],
        "train_test_split": [f"{i + 1} 0" for i in range(6)],
    }
    texts = {f"CUB_200_2011/{name}.txt": "\n".join(lines) for name, lines in tables.items()}
    return texts | photos(*(f"CUB_200_2011/images/{path}" for path in paths))


def oxford_pets() -> dict[str, Any]:
    names = [f"{('Abyssinian', 'basset_hound')[i % 2]}_{i}" for i in range(6)]
    rows = [f"{name} {i % 2 + 1} {i % 2 + 1} 1" for i, name in enumerate(names)]
    return {"annotations/test.txt": "\n".join(rows), **photos(*(f"images/{name}.jpg" for name in names))}


def zeroshot(prompts: str, column: str = "class") -> dict[str, Any]:
    return {"kind": "zeroshot", "column": column, "prompts": prompts, "distractors": True}


UTKFACE = {
    "layout": "folder",
    "name_pattern": r"(?:.*/)?(?P<age>\d+)_(?P<gender>[01])_(?P<race>[0-4])_\d+\.jpg\.chip\.jpg",
    "values": {"gender": {"0": "man", "1": "woman"}},
}
FEMININE = {"gender": {"Predominantly Feminine": "woman", "Predominantly Masculine": "man"}}
NAMED: dict[str, tuple[dict[str, Any], str, dict[str, Any], list[dict[str, Any]]]] = {
    "coco": (coco(), "val2017", {"layout": "coco"}, [RETRIEVAL]),
    "flickr30k": (karpathy(), "test", {"layout": "karpathy"}, [RETRIEVAL]),
    "flickr8k": (flickr8k(), "test", {"layout": "flickr8k"}, [RETRIEVAL]),
    "fairface": (
        fairface(), "val", {"layout": "fairface", "values": {"gender": {"Male": "man", "Female": "woman"}}},
        [GENDER, ASSOCIATION],
    ),
    "utkface": (photos(*(f"2{i}_{i % 2}_0_2017011{i}.jpg.chip.jpg" for i in range(8))), "all", UTKFACE,
                [GENDER, ASSOCIATION]),
    "miap": (miap(), "test", {"layout": "miap", "values": FEMININE}, [GENDER, ASSOCIATION]),
    "imagenet": (imagenet(), "val", {"layout": "imagenet_val"}, [zeroshot("imagenet", "synset")]),
    "cifar100": (cifar100(), "test", {"layout": "cifar100"}, [zeroshot("cifar100")]),
    "caltech101": (
        photos(*(f"101_ObjectCategories/{('ant', 'crab')[i % 2]}/image_{i:04d}.jpg" for i in range(6))), "all",
        {"layout": "folder", "name_pattern": r"(?:.*/)?(?P<class>\w+)/image_\d+\.jpg"}, [zeroshot("own")],
    ),
    "cub200": (cub200(), "test", {"layout": "cub200"}, [zeroshot("own")]),
    "oxford_pets": (oxford_pets(), "test", {"layout": "oxford_pets"}, [zeroshot("oxford_pets")]),
}  # fmt: skip
"""Files, split, options of the import, and what is measured."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with the configuration, and a small model in place of the packaged one."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "config", root / "config")
    own = {"templates": ["a photo of a {}"], "classes": {}}
    own["classes"] = {name: [name] for name in ("ant", "crab", "Black footed Albatross", "Laysan Albatross")}
    (root / "config" / "prompts" / "own.yaml").write_text(json.dumps(own))
    (root / "models" / "lite0_minilm").mkdir(parents=True)
    torch.manual_seed(2)
    save_clip(create_clip(str(write_model(root / "tiny.json"))), root / "models" / "lite0_minilm")
    return root


def run(*arguments: str) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


def trained_projections(project: Path, data: str, features: str) -> str:
    """Projections that were trained on a data set's features."""
    keys = read_pairs(Path(data))["key"].to_pylist()
    weights = write_weights(project / "weights.parquet", dict.fromkeys(keys, 1))
    model = "models/lite0_minilm"
    options = {"model": model, "init": model, "freeze": ["image_trunk", "text_trunk"], "batch_size": 4,
               "samples_seen": 8, "device": "cpu"}  # fmt: skip
    outs, state = {0: Path("run")}, Path("state")
    train_models(Path(data), weights, outs, state, TrainOptions.parse(options, "test"), features=Path(features))
    return "run"


@pytest.mark.parametrize("name", NAMED)
def test_a_named_data_set_takes_one_block(project: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(project)
    files, split, options, tasks = NAMED[name]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        content = content if isinstance(content, bytes | str) else json.dumps(content)
        (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    values = dict(read_yaml(ROOT / "config" / "studies" / "photos.yaml"))
    block = {"source": "import", "root": str(tmp_path), "splits": [split], "options": options | {"max_px": 64}}
    values["data"] = values["data"] | {"named": block}
    values["evaluate"] = values["evaluate"] | {"sets": {"named": {"data": f"named/{split}", "tasks": tasks}}}
    config = Study.from_mapping(values, "photos").config
    data, folder = f"data/named/{split}", config.feature_folder(f"named/{split}")
    run("data", *config.data["named"].arguments(split), "--out", data)
    run("features", "--data", data, "--out", folder, *config.feature_arguments(f"named/{split}"))
    model = trained_projections(project, data, folder) if tasks == [RETRIEVAL] else "models/lite0_minilm"
    cached = repeated("--features", config.embed_features()) if model == "run" else []
    run("embed", "--model", model, "--out", "embedded", *config.evaluate.embed_arguments(), *cached)
    run("evaluate", "--embeddings", "embedded/named.npz", "--out", "metrics.json", *config.evaluate.arguments())
    kinds = {row["metric"].split("/")[0] for row in json.loads(Path("metrics.json").read_text())["metrics"]}
    measured = {"association": "bias"}
    assert {measured.get(task["kind"], task["kind"]) for task in tasks} <= kinds
