"""Measure the data and label stages against their peers; writes benchmarks/results/data.csv.

    EVENCLIP_REAL_DATA=/where/the/sets/are IMG2DATASET_PYTHON=/its/venv/bin/python python -m benchmarks.data [CASE...]

Cases: `small` (photos of Flickr8k, kept as they are), `large` and `camera` (ImageNet's sample enlarged to 640 and 2,048
px, shrunk to 256 px), `labels` (captions of Flickr8k, COCO and CC3M), `phrases` (500,000). Contestants take turns, each
in a process of its own, with the same cores and the same files; what counts is the time from the raw files to finished
shards, without imports: on the clock, and of the processor, which others on the machine disturb less. Peers: a loop
over Pillow, tarfile and pyarrow with a pool of threads; img2dataset's `Resizer` and `WebDatasetSampleWriter`, fed with
local bytes in a process per core, as it works; for labels, one regular expression per column over each caption.
img2dataset lives in an environment of its own (its dependencies clash): without IMG2DATASET_PYTHON it is left out.
"""

import csv
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measuring import ROOT, cost, real_data, row, run, size
from evenclip.data.shards import read_pairs
from evenclip.label import Lexicon, read_lexicon
from evenclip.label.from_captions import label_captions, pooled
from evenclip.label.lexicon import normalise, with_plurals
from evenclip.label.matching import Matcher

CONTESTANTS = Path(__file__).with_name("data_contestants.py")
LEXICON = ROOT / "config" / "lexicons" / "people.yaml"
N_RUNS = size(3, 1)
SHRUNK_PX = 256
NOISE = 4.0  # grey levels: an enlarged photo alone would have too few coefficients to decode


def image_case(work: Path, case: str, max_px: int | None) -> list[dict]:
    """Images to shards: rates on the clock and of the processor."""
    contestants = {"evenclip": sys.executable, "loop": sys.executable}
    if python := os.environ.get("IMG2DATASET_PYTHON"):
        contestants["img2dataset"] = python
    names = {"loop": "Pillow + tarfile + pyarrow", "img2dataset": "img2dataset's Resizer and writer"}
    clock, cpu = ({name: [] for name in contestants} for _ in range(2))
    for _ in range(N_RUNS):
        for name, python in contestants.items():
            took = contestant(python, name, work, max_px)
            clock[name].append(took["n"] / took["seconds"])
            cpu[name].append(took["n"] / took["cpu_seconds"])
    for name in contestants:
        check_same(work / "out-evenclip", work / f"out-{name}", max_px)
    return [
        row(case, unit, rate["evenclip"], rate[peer], names[peer], target, rate=True)
        for peer in list(contestants)[1:]
        for unit, rate, target in (("images/s", clock, 1), ("images/s of processor time", cpu, None))
    ]


def contestant(python: str, name: str, work: Path, max_px: int | None) -> dict[str, float]:
    """Seconds, processor seconds and number of images of one run."""
    command = [python, str(CONTESTANTS), name, str(work / "in"), str(work / f"out-{name}"), str(max_px or 0)]
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def check_same(ours: Path, theirs: Path, max_px: int | None) -> None:
    """The same captions and sizes; the same bytes, or where images are shrunk, nearly the same pixels."""
    pairs, other = dict(pairs_in(ours)), dict(pairs_in(theirs))
    assert pairs.keys() == other.keys() and len(pairs) >= size(100, 5), (len(pairs), len(other))
    for caption, content in pairs.items():
        if max_px is None:
            assert content == other[caption], caption
            continue
        a, b = (
            np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.float64) for jpeg in (content, other[caption])
        )
        assert a.shape == b.shape and np.abs(a - b).mean() < 6, (caption, a.shape, b.shape, np.abs(a - b).mean())


def pairs_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Captions, which tell the pairs of these cases apart, and images."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name, content in members.items():
            if name.endswith(".jpg"):
                yield members[name.removesuffix("jpg") + "txt"].decode(), content


def small_case(raw: Path, work: Path) -> list[dict]:
    """Flickr8k's photos of 128 px at most, as they are."""
    with tarfile.open(raw / "flickr8k" / "Flicker8k_Dataset.tar") as tar:
        photos = [tar.extractfile(member).read() for member in tar if member.isfile()]
    photos = list(dict.fromkeys(photos))[: size(len(photos), 20)]  # one is there twice
    write_input(work / "in", photos)
    return image_case(work, f"small: {len(photos):,} photos of Flickr8k, 128 px, kept as they are", None)


def large_case(raw: Path, work: Path) -> list[dict]:
    """Photos as the web has them: ImageNet's sample, enlarged and with noise."""
    return shrinking(work, "large", enlarged(raw, 640, size(500, 8)))


def camera_case(raw: Path, work: Path) -> list[dict]:
    """Photos as a camera makes them."""
    return shrinking(work, "camera", enlarged(raw, 2048, size(100, 5)))


def shrinking(work: Path, case: str, photos: list[bytes]) -> list[dict]:
    write_input(work / "in", photos)
    side = max(Image.open(io.BytesIO(photos[0])).size)
    mean_kb = sum(map(len, photos)) / len(photos) / 1000
    what = f"{case}: {len(photos)} photos, {side:,} px, {mean_kb:.0f} kB, shrunk to {SHRUNK_PX} px"
    return image_case(work, what, SHRUNK_PX)


def enlarged(raw: Path, long_side: int, n: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    photos = []
    with tarfile.open(raw / "imagenet_sample" / "imagenet_sample.tar") as tar:
        small = [tar.extractfile(member).read() for member in tar if member.isfile()]
    for content in small[:n]:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        scale = long_side / max(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)
        pixels = np.asarray(image) + rng.normal(0, NOISE, (image.height, image.width, 1))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        photos.append(buffer.getvalue())
    return photos


def write_input(folder: Path, photos: list[bytes]) -> None:
    """A tar of photos and a TSV of their captions, which all contestants read."""
    folder.mkdir()
    names = [f"photo_{number:06d}.jpg" for number in range(len(photos))]
    with tarfile.open(folder / "photos.tar", "w") as tar:
        for name, content in zip(names, photos, strict=True):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    lines = [f"{name}\ta photo with the number {number}" for number, name in enumerate(names)]
    (folder / "captions.tsv").write_text("\n".join(["image\tcaption", *lines]) + "\n", encoding="utf-8")


def label_case(raw: Path, work: Path) -> list[dict]:
    """Captions to labels of pairs, in memory, and `evenclip label` as a whole."""
    captions = real_captions(raw)[: size(10**9, 1000)]
    lexicon = read_lexicon(LEXICON)
    matcher, patterns = Matcher(lexicon), plain_patterns(lexicon)
    n = sum(map(len, captions))
    check_labels(lexicon, captions, patterns)
    ours, peer = [], []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        label_captions(captions, matcher, "any")
        between = time.perf_counter()
        plain_labels(captions, patterns)
        ours.append(n / (between - start))
        peer.append(n / (time.perf_counter() - between))
    what = f"labels: {n:,} captions, {len(matcher.columns)} columns"
    rows = [row(what, "captions/s", ours, peer, "a regular expression per column", 1, rate=True)]

    from evenclip.data.importing import import_dataset
    from evenclip.data.options import ImportOptions
    from evenclip.label import LabelOptions, label_dataset

    import_dataset(raw / "flickr8k", work / "flickr8k", size("all", "dev"), ImportOptions(layout="flickr8k"))
    ours, peer = [], []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        label_dataset(work / "flickr8k", LEXICON, work / "labels.parquet", LabelOptions())
        between = time.perf_counter()
        pairs = pq.read_table(next((work / "flickr8k").glob("0*.parquet")), columns=["key", "captions"])
        groups = pairs.column("captions").to_pylist()
        labels = plain_labels(groups, plain_patterns(read_lexicon(LEXICON)))
        columns = {column: labels[:, c] for c, column in enumerate(patterns)}
        pq.write_table(pa.table({"key": pairs.column("key"), **columns}), work / "peer.parquet", compression="zstd")
        n = sum(map(len, groups))
        ours.append(n / (between - start))
        peer.append(n / (time.perf_counter() - between))
    assert len(read_pairs(work / "flickr8k")) == len(groups)
    what = f"labels: {n:,} captions of Flickr8k, data folder to labels.parquet"
    return [*rows, row(what, "captions/s", ours, peer, "a regular expression per column, pyarrow", 1, rate=True)]


def phrases_case(raw: Path, work: Path) -> list[dict]:
    """Captions of COCO by as many phrases as MetaCLIP has: sequences of words in the captions of two other sets."""
    captions = real_captions(raw)
    of_coco = {item["caption"] for item in coco_captions(raw)}
    sequences: dict[str, None] = {}
    for caption in (caption for group in captions for caption in group if caption not in of_coco):
        words = re.findall(r"\w+", normalise(caption))
        for n in (1, 2, 3, 4):
            sequences |= dict.fromkeys(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    phrases = [*sequences][: size(500_000, 2000)]
    assert len(phrases) == size(500_000, 2000), len(phrases)
    groups = {"group": {"x": ["woman", "girl"], "y": ["man", "boy"]}}
    target = {f"l{k:02d}": phrases[k::20] for k in range(20)}
    matcher = Matcher(Lexicon.parse({"sensitive": groups, "target": target}, "phrases"))
    texts = [[caption] for caption in sorted(of_coco)][: size(10**9, 1000)]
    rates = []
    for _ in range(N_RUNS):
        _, cpu_s, (labels, _) = cost(lambda: label_captions(texts, matcher, "any"))
        rates.append(len(texts) / cpu_s)
    mean = f"{labels.sum(axis=1).mean():.1f} of {labels.shape[1]}"
    what = f"{len(texts):,} captions, {len(phrases):,} phrases, {mean} labels each"
    return [row(what, "captions/s of one core", rates, None, "", 50_000, rate=True)]


def coco_captions(raw: Path) -> list[dict]:
    """The captions of COCO val2017, with the number of their image."""
    return json.loads((raw / "coco/annotations/captions_val2017.json").read_text(encoding="utf-8"))["annotations"]


def real_captions(raw: Path) -> list[list[str]]:
    """The captions of each image of Flickr8k, COCO val2017 and CC3M's validation set."""
    groups: dict[str, list[str]] = {}
    with open(raw / "flickr8k" / "captions.txt", newline="", encoding="utf-8") as file:
        for entry in csv.DictReader(file):
            groups.setdefault(entry["image"], []).append(entry["caption"])
    for item in coco_captions(raw):
        groups.setdefault(str(item["image_id"]), []).append(item["caption"])
    cc3m = next((raw / "cc3m").glob("*.tsv")).read_text(encoding="utf-8").splitlines()
    return [*groups.values(), *([line.split("\t")[0]] for line in cc3m)]


def plain_patterns(lexicon: Lexicon) -> dict[str, re.Pattern]:
    """For each column one alternation of all its words, as one would write it."""
    patterns = {}
    for block in lexicon.blocks():
        for column, words in block.items():
            forms = sorted(set().union(*map(with_plurals, words.words)), key=len, reverse=True)
            patterns[column] = re.compile(rf"\b(?:{'|'.join(map(re.escape, forms))})\b")
    return patterns


def plain_labels(captions: list[list[str]], patterns: dict[str, re.Pattern]) -> np.ndarray:
    texts = [normalise(text) for group in captions for text in group]
    named = np.array([[pattern.search(text) is not None for pattern in patterns.values()] for text in texts])
    return pooled(named, [len(group) for group in captions], "any")


def check_labels(lexicon: Lexicon, captions: list[list[str]], patterns: dict[str, re.Pattern]) -> None:
    """Where no denial and no false friend is met, both must name the same."""
    texts = [[text] for group in captions for text in group]
    ours, _ = label_captions(texts, Matcher(lexicon), "any")
    plain = plain_labels(texts, patterns)
    words_only = lexicon.model_dump() | {"negation": {"words": [], "between": [], "alternatives": []}}
    for block in (*words_only["sensitive"].values(), words_only["target"], words_only["proxy"]):
        for words in block.values():
            words |= {"exclude": [], "not_before": [], "not_owner_of": []}
    bare, _ = label_captions(texts, Matcher(Lexicon.model_validate(words_only, by_name=True)), "any")
    unaffected = (bare == ours).all(axis=1)
    differs = (plain != ours).any(axis=1) & unaffected
    print(f"labels: {unaffected.mean():.4f} of captions have no denial and no false friend; all of these agree")
    assert not differs.any() and unaffected.mean() > size(0.99, 0.9)


def with_data(case: Callable[[Path, Path], list[dict]]) -> Callable[[], list[dict]]:
    """A case on the real data, with a folder to work in."""

    def in_folder() -> list[dict]:
        with tempfile.TemporaryDirectory() as folder:
            return case(real_data(), Path(folder))

    return in_folder


CASES = {
    "small": small_case, "large": large_case, "camera": camera_case, "labels": label_case, "phrases": phrases_case,
}  # fmt: skip


if __name__ == "__main__":
    run("data", {name: with_data(case) for name, case in CASES.items()})
