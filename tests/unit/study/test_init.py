"""`evenclip init` sees what a source holds, and writes a study that is valid as it is and overwrites nothing."""

import io
import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evenclip.balance import balance
from evenclip.data.importing import import_dataset
from evenclip.data.shards import read_pairs
from evenclip.errors import InputError
from evenclip.label.lexicon import read_lexicon
from evenclip.label.run import label_dataset
from evenclip.options import read_yaml
from evenclip.study.init import init_study
from evenclip.study.study import load_study
from support.project import ROOT

N = 40
CAPTIONS = [
    f"a {'woman' if i % 2 else 'man'} with a {('red', 'long')[i % 4 < 2]} scarf near a {('river', 'tower')[i % 3 == 0]}"
    for i in range(N)
]


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder with the configuration of this checkout, which is the current one."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path) -> list[str]:
    names = [f"IMG_{i:03d}.PNG" for i in range(N)]
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(picture(i))
    return names


def write_csv(root: Path) -> dict:
    names = write_pictures(root / "pictures")
    pd.DataFrame({"filname": names, "captoin": CAPTIONS, "stars": range(N)}).to_csv("elsewhere.csv", index=False)
    return {"captions": Path("elsewhere.csv")}


def write_tsv(root: Path) -> dict:
    names = write_pictures(root)
    pd.DataFrame({"filepath": names, "title": CAPTIONS}).to_csv(root / "t.tsv", sep="\t", index=False)
    return {}


def write_json_lines(root: Path) -> dict:
    names = write_pictures(root / "images")
    lines = [json.dumps({"file_name": f"images/{n}", "text": c}) for n, c in zip(names, CAPTIONS, strict=True)]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return {}


def write_shards(root: Path) -> dict:
    """As img2dataset writes them."""
    for shard in range(2):
        samples = {}
        for i in range(shard * N // 2, (shard + 1) * N // 2):
            record = json.dumps({"caption": CAPTIONS[i], "url": f"http://x/{i}", "status": "success"}).encode()
            samples[f"{i:09d}"] = {"jpg": picture(i), "txt": CAPTIONS[i].encode(), "json": record}
        write_tar(root / f"shards/{shard:05d}.tar", samples)
        pq.write_table(pa.table({"url": ["x"], "caption": ["y"]}), root / f"shards/{shard:05d}.parquet")
    return {}


def write_parquet(root: Path) -> dict:
    root.mkdir()
    for split, rows in (("train", range(N - 8)), ("test", range(N - 8, N))):
        images = pa.array([{"bytes": picture(i), "path": None} for i in rows])
        table = pa.table({"image": images, "text": [CAPTIONS[i] for i in rows], "width": [16] * len(rows)})
        pq.write_table(table, root / f"{split}-00000-of-00001.parquet")
    return {}


def write_class_shards(root: Path) -> dict:
    """As CLIP_benchmark's `convert_dataset` writes them."""
    for split, rows in (("train", range(N - 8)), ("test", range(N - 8, N))):
        write_tar(root / split / "0.tar", {f"s{i:07d}": {"png": picture(i), "cls": str(i % 2).encode()} for i in rows})
        (root / split / "nshards.txt").write_text("1\n")
    (root / "classnames.txt").write_text("chef\npilot\n")
    return {"labels": ["photo"]}


def write_caption_shards(root: Path) -> dict:
    """As CLIP_benchmark's `convert_retrieval_dataset` writes them: a caption a line."""
    for split, rows in (("train", range(N - 8)), ("test", range(N - 8, N))):
        texts = {i: f"{CAPTIONS[i]}\nsecond caption of {i}".encode() for i in rows}
        write_tar(root / split / "0.tar", {f"s{i:07d}": {"png": picture(i), "txt": texts[i]} for i in rows})
    (root / "dataset_type.txt").write_text("retrieval\n")
    return {}


def write_tar(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, parts in samples.items():
            for ending, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_classes(root: Path) -> dict:
    for i in range(N):
        folder = root / ("train", "val")[i >= 30] / ("chef", "pilot")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(picture(i))
    return {"labels": ["photo"]}


KINDS = {  # what is written; the layout, what is held out, and the groups that are seen
    "csv": (write_csv, "folder", 0.2, "gender"),
    "tsv": (write_tsv, "folder", 0.2, "gender"),
    "json_lines": (write_json_lines, "folder", 0.2, "gender"),
    "shards": (write_shards, "webdataset", 0.2, "gender"),
    "parquet": (write_parquet, "parquet", None, "gender"),
    "classes": (write_classes, "folder", None, "class"),
    "class_shards": (write_class_shards, "webdataset", None, "class"),
    "caption_shards": (write_caption_shards, "webdataset", None, "gender"),
}


def init(root: Path, captions: Path | None = None, attributes=(), labels=(), out: Path | None = None) -> list[str]:
    return init_study(root, captions, attributes, labels, out)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_of_each_kind_gives_a_study_that_is_valid(kind, checkout):
    write, layout, held_out, attribute = KINDS[kind]
    lines = init(Path(kind), **write(Path(kind)))
    study = load_study(f"studies/{kind}/study.yaml")
    options = study.config.data[kind].options
    assert options.layout == layout and options.test_share == held_out
    assert any(f"perceived groups ({'column class' if attribute == 'class' else 'captions'})" in line for line in lines)
    tasks = [task.root.kind for task in study.config.evaluate.sets[f"{kind}_test"].tasks]
    assert tasks[:2] == ["retrieval", "recognition"]
    assert list(study.runs) == ["baseline", "random_subsample", "m4"]
    assert f"studies/{kind}/study.yaml" in lines[-1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "class" not in kind])  # classes have no second label
def test_a_source_of_each_kind_becomes_balanced_weights(kind, checkout):
    init(Path(kind), **KINDS[kind][0](Path(kind)))
    config = load_study(f"studies/{kind}/study.yaml").config
    data, label = config.data[kind], config.label
    for split in data.splits:
        import_dataset(data.raw_files()[0], Path("data", split), split, data.options)
    label_dataset(Path("data", label.split), label.lexicon, Path("labels.parquet"), label.options)
    report = balance(Path("labels.parquet"), Path("balanced"), config.balance["m4"])
    assert report["rb_after"] < 0.02 and report["n"] + len(read_pairs("data/test")) == N


def test_columns_are_known_by_what_they_hold(checkout):
    init(Path("photos"), **write_csv(Path("photos")))
    options = load_study("studies/photos/study.yaml").config.data["photos"].options
    assert (options.image_column, options.caption_column) == ("filname", "captoin")
    assert options.captions == str(checkout / "elsewhere.csv")


def test_words_that_differ_between_groups_become_labels(checkout):
    write_tsv(Path("photos"))
    table = pd.read_csv("photos/t.tsv", sep="\t")
    table["title"] = [f"{c} {'necklace' if i % 2 else 'moustache'} garden" for i, c in enumerate(table["title"])]
    table.to_csv("photos/t.tsv", sep="\t", index=False)
    init(Path("photos"))
    assert {"necklace", "moustache"} <= set(list(read_lexicon("studies/photos/lexicon.yaml").target)[:3])


def test_annotated_columns_give_groups_and_labels(checkout):
    names, draw = write_pictures(Path("photos")), random.Random(0)
    columns = {"gender": ["Woman", "Man"], "nurse": ["yes", "no"]}
    table = {"image": names, "caption": CAPTIONS, **{k: draw.choices(v, k=N) for k, v in columns.items()}}
    pd.DataFrame(table).to_csv("photos/c.csv", index=False)
    init(Path("photos"))
    label = load_study("studies/photos/study.yaml").config.label
    assert label.options.columns == {"gender": "gender"} and label.options.target_columns == ["nurse"]


def test_spellings_of_groups_are_refused_or_noted(checkout):
    names = write_pictures(Path("photos"))
    table = pd.DataFrame({"image": names, "caption": CAPTIONS, "gender": ["woman", "man"] * (N // 2)})
    table.loc[0, "gender"] = "womann"
    table.to_csv("photos/c.csv", index=False)
    lines = init(Path("photos"), labels=["scarf"], out=Path("first"))
    assert "note: is gender.womann (1 pairs) a misspelt gender.woman?" in lines
    table.loc[0, "gender"] = "Woman"
    table.to_csv("photos/c.csv", index=False)
    with pytest.raises(InputError, match="'Woman' and 'woman' are two spellings"):
        init(Path("photos"), labels=["scarf"], out=Path("second"))


def test_labels_asked_for_come_from_the_lexicon_or_are_new(checkout):
    init(Path("photos"), **write_csv(Path("photos")), attributes=["gender"], labels=["nurse", "red scarf"])
    lexicon = read_lexicon("studies/photos/lexicon.yaml")
    assert "log" in lexicon.target["nurse"].not_before and lexicon.target["red scarf"].words == ["red scarf"]


def test_nothing_is_overwritten(checkout):
    arguments = write_csv(Path("photos"))
    init(Path("photos"), **arguments)
    Path("studies/photos/lexicon.yaml").write_text("mine")
    with pytest.raises(InputError, match="overwrites nothing"):
        init(Path("photos"), **arguments)
    assert Path("studies/photos/lexicon.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attributes": ["gendr"]}, "did you mean 'gender'"),
        ({"labels": ["rivr"]}, "'rivr' is no column, and no caption has it"),
        ({"labels": ["nurze"]}, "did you mean 'nurse'"),
        ({"captions": Path("nosuch.csv")}, "no such file"),
        ({"captions": Path("config/models/photos_tiny.json")}, "names images of the source"),
    ],
)
def test_what_cannot_be_understood_is_one_message(arguments, message, checkout):
    valid_arguments = write_csv(Path("photos"))
    with pytest.raises(InputError, match=message):
        init(Path("photos"), **valid_arguments | arguments)
    assert not Path("studies").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IMG_000.PNG,a dog\nIMG_001.PNG,a cat\n", "the first line names an image"),
        ("image;caption\nIMG_000.PNG;a dog\n", "semicolons between the columns"),
    ],
)
def test_a_captions_file_without_a_proper_header_is_refused(text, message, checkout):
    write_pictures(Path("photos"))
    Path("c.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        init(Path("photos"), captions=Path("c.csv"))


def test_images_without_captions_or_classes_are_refused(checkout):
    write_pictures(Path("photos"))
    with pytest.raises(InputError, match="give --captions FILE"):
        init(Path("photos"))


def test_unusable_records_raise_the_allowed_share(checkout):
    arguments = write_csv(Path("photos"))
    table = pd.read_csv("elsewhere.csv")
    table[:30].to_csv("elsewhere.csv", index=False)
    lines = init(Path("photos"), **arguments)
    options = read_yaml("studies/photos/study.yaml")["data"]["photos"]["options"]
    assert options["max_quarantined_share"] >= 0.25
    assert "left out: missing_caption 10 (such as pictures/IMG_030.PNG)" in lines
