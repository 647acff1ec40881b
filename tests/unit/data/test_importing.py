"""Import: what is whole becomes a pair, what is not is quarantined with its reason, and nothing is lost."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evenclip.data import source as source_module
from evenclip.data.importing import import_dataset
from evenclip.data.layouts.base import MAX_KEY_BYTES, key_of, one_line
from evenclip.data.options import ImportOptions
from evenclip.data.shards import iterate_images, read_manifest, read_pairs, verify_dataset
from evenclip.data.source import Source
from evenclip.errors import InputError

Files = dict[str, bytes | str]


def photo(seed: int, kind: str = "JPEG", size: tuple[int, int] = (12, 8)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def as_bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def make_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(as_bytes(content))
    return path


def make_tar(path: Path, files: Files, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(as_bytes(content))
            tar.addfile(member, io.BytesIO(as_bytes(content)))
    return path


def make_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, as_bytes(content))
    return path


CONTAINERS: dict[str, Callable[[Path, Files], Path]] = {
    "folder": lambda tmp, files: make_folder(tmp / "in", files),
    "tar": lambda tmp, files: make_tar(tmp / "in.tar", files),
    "tar.gz": lambda tmp, files: make_tar(tmp / "in.tar.gz", files, "w:gz"),
    "zip": lambda tmp, files: make_zip(tmp / "in.zip", files),
    "folder with a tar": lambda tmp, files: make_tar(tmp / "in" / "x.tar", files).parent,
}


@pytest.fixture
def imported(tmp_path):
    """Import ``files``; returns the pairs by key, and the quarantine as {name: reason}."""

    def run(files: Files | Path, split: str = "all", **options) -> tuple[dict[str, dict], dict[str, str]]:
        source = files if isinstance(files, Path) else make_folder(tmp_path / "in", files)
        options = {"max_quarantined_share": 1.0} | options
        import_dataset(source, tmp_path / "out", split, ImportOptions.parse(options, "test"))
        rows = {row["key"]: row for row in read_pairs(tmp_path / "out").to_pylist()}
        quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
        return rows, {row["name"]: row["reason"] for row in quarantine}

    return run


# --- where the files lie --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_shards(container, tmp_path, imported):
    files: Files = {"a/1.jpg": photo(1), "a/2.png": photo(2, "PNG"), "b/3.jpg": photo(3)}
    imported(make_folder(tmp_path / "reference", files))
    expected = read_manifest(tmp_path / "out")["content"]
    imported(CONTAINERS[container](tmp_path, files))
    assert read_manifest(tmp_path / "out")["content"] == expected


def test_nothing_is_written_beside_the_out_folder(tmp_path, imported):
    imported(make_tar(tmp_path / "in.tar", {"a.jpg": photo(1), "../outside.jpg": photo(2), "/tmp/x.jpg": photo(3)}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar", "out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".evenclip", "00000.parquet", "00000.tar", "manifest.json", "quarantine.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_members_outside_the_folder_are_stray(make, tmp_path, imported):
    path = tmp_path / ("in.tar" if make is make_tar else "in.zip")
    pairs, quarantine = imported(make(path, {"a.jpg": photo(1), "x/../../b.jpg": photo(2), "/c.jpg": photo(3)}))
    assert list(pairs) == ["a"]
    assert quarantine == {"x/../../b.jpg": "stray_name", "/c.jpg": "stray_name"}


def test_links_and_devices_in_a_tar_are_stray(tmp_path, imported):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(photo(9))
    path = make_tar(tmp_path / "in.tar", {"a.jpg": photo(1)})
    with tarfile.open(path, "a") as tar:
        for name, kind, target in (("l.jpg", tarfile.SYMTYPE, str(secret)), ("d.jpg", tarfile.CHRTYPE, "")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    pairs, quarantine = imported(path)
    assert list(pairs) == ["a"]
    assert quarantine == {"l.jpg": "stray_name", "d.jpg": "stray_name"}


@pytest.mark.parametrize("keep", [0.1, 0.4, 0.5])
@pytest.mark.parametrize("name", ["in.tar", "in.tar.gz", "in.zip"])
def test_an_archive_cut_off_is_an_input_error(name, keep, tmp_path, imported):
    files: Files = {f"{i}.jpg": photo(i, size=(64, 64)) for i in range(5)}
    path = (
        make_zip(tmp_path / name, files) if name.endswith("zip") else make_tar(tmp_path / name, files, f"w:{name[7:]}")
    )
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match="archive|complete tar"):
        imported(path)
    assert not (tmp_path / "out").exists()


def test_a_broken_header_in_the_middle_of_a_tar_is_not_its_end(tmp_path, imported):
    path = make_tar(tmp_path / "in.tar", {"a.jpg": photo(1), "b.jpg": photo(2), "c.jpg": photo(3)})
    with tarfile.open(path) as tar:
        offset = tar.getmember("b.jpg").offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 512] = b"x" * 512
    path.write_bytes(content)
    with pytest.raises(InputError, match="broken header"):
        imported(path)


def test_a_tar_cut_between_two_members_is_not_whole(tmp_path, imported):
    path = make_tar(tmp_path / "in.tar", {"a.jpg": photo(1), "b.jpg": photo(2)})
    with tarfile.open(path) as tar:
        offset = tar.getmember("b.jpg").offset
    path.write_bytes(path.read_bytes()[:offset])
    with pytest.raises(InputError, match="cut off"):
        imported(path)


def test_only_the_damaged_member_of_a_zip_is_unreadable(tmp_path, imported):
    path = make_zip(tmp_path / "in.zip", {"a.jpg": photo(1), "b.jpg": photo(2)})
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("b.jpg").header_offset + 60
    content = bytearray(path.read_bytes())
    content[at : at + 40] = bytes(40)
    path.write_bytes(content)
    pairs, quarantine = imported(path)
    assert (list(pairs), quarantine) == (["a"], {"b.jpg": "unreadable_image"})


def test_a_zip_bomb_is_refused_unread(tmp_path, imported, monkeypatch):
    monkeypatch.setattr("evenclip.data.importing.MAX_BYTES", 100_000)
    path = make_zip(tmp_path / "in.zip", {"a.jpg": photo(1), "b.jpg": bytes(10_000_000)})
    read = Source.read
    monkeypatch.setattr(
        Source, "read", lambda self, file: pytest.fail("read") if file.base == "b.jpg" else read(self, file)
    )
    assert imported(path)[1] == {"b.jpg": "image_too_large"}


def test_hidden_files_and_links_to_parents_are_skipped(tmp_path, imported):
    folder = make_folder(
        tmp_path / "in", {"a.jpg": photo(1), ".b.jpg": b"", "__MACOSX/._a.jpg": b"", ".git/c.jpg": b""}
    )
    (folder / "up").symlink_to(folder, target_is_directory=True)
    (folder / "further_up").symlink_to("..", target_is_directory=True)
    (tmp_path / "beside.jpg").write_bytes(photo(2))
    pairs, quarantine = imported(folder)
    assert (list(pairs), quarantine) == (["a"], {})


@pytest.mark.parametrize(("name", "content"), [("no", None), ("a.txt", b"x"), ("a.tar", b"x"), ("a.zip", b"x")])
def test_a_source_of_unknown_kind_is_an_input_error(name, content, tmp_path, imported):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        imported(tmp_path / name)


def test_an_archive_is_opened_once_for_reading_in_order(tmp_path, monkeypatch):
    path = make_tar(tmp_path / "in.tar", {f"{i}.jpg": photo(i) for i in range(20)})
    opened = []
    monkeypatch.setattr(source_module.tarfile, "open", lambda p, open_=tarfile.open: opened.append(p) or open_(p))
    with Source(path) as source:
        assert [source.read(file) for file in source.files()] == [photo(i) for i in range(20)]
    assert opened == [path]


# --- layout folder --------------------------------------------------------------------------------------------------


def test_images_without_captions(imported):
    pairs, quarantine = imported({"x/a.jpg": photo(1), "x/y/b.v1.png": photo(2, "PNG"), "x/notes.txt": "hello"})
    assert {key: row["captions"] for key, row in pairs.items()} == {"a": [], "y/b_v1": []}
    assert quarantine == {"x/notes.txt": "other_file"}


CAPTION_FILES = {
    "c.csv": 'image,caption,city\na.jpg,"One, a dog .",Rome\nx/b.jpg,Two,\na.jpg," One\n more",Paris\n',
    "c.tsv": "city\timage\tcaption\nRome\ta.jpg\tOne, a dog .\n\tx/b.jpg\tTwo\nParis\ta.jpg\tOne more\n",
    "c.jsonl": '{"image": "a.jpg", "caption": ["One, a dog .", "One more"], "city": "Rome"}\n\n'
    '{"image": "./x/b.jpg", "caption": "Two", "city": null}\n',
}


@pytest.mark.parametrize("name", CAPTION_FILES)
def test_captions_files(name, imported):
    files: Files = {"in/a.jpg": photo(1), "in/x/b.jpg": photo(2), name: "\ufeff" + CAPTION_FILES[name]}
    pairs, quarantine = imported(files, captions=name)
    assert {key: (row["captions"], row["city"]) for key, row in pairs.items()} == {
        "a": (["One, a dog .", "One more"], "Rome"), "x/b": (["Two"], ""),
    }  # fmt: skip
    assert quarantine == {}


def test_other_names_for_the_columns(imported):
    files: Files = {"a.jpg": photo(1), "c.csv": "file,text\na.jpg,A dog\n"}
    pairs, _ = imported(files, captions="c.csv", image_column="file", caption_column="text")
    assert pairs["a"]["caption"] == "A dog"
    with pytest.raises(InputError, match="no column 'image'.*\n.*file, text"):
        imported(files, captions="c.csv")


def test_each_kind_of_bad_record_has_its_reason(imported):
    files: Files = {
        "good.jpg": photo(1), "same.jpg": photo(1), "cut.jpg": photo(2)[:200], "page.jpg": "<html>",
        "mute.jpg": photo(3), "empty.jpg": photo(4), "good.png": photo(5, "PNG"),
        "x/twice.jpg": photo(6), "y/twice.jpg": photo(7),
        "c.csv": "image,caption\ngood.jpg,A\nsame.jpg,B\ncut.jpg,C\npage.jpg,D\nempty.jpg, \nlost.jpg,E\ngood.png,F\n"
        "twice.jpg,G\nbad,row,here\n",
    }  # fmt: skip
    pairs, quarantine = imported(files, captions="c.csv")
    assert list(pairs) == ["good_jpg", "good_png"]
    assert quarantine == {
        "same.jpg": "duplicate_image", "cut.jpg": "unreadable_image", "page.jpg": "unreadable_image",
        "mute.jpg": "missing_caption", "empty.jpg": "missing_caption", "lost.jpg": "missing_image",
        "twice.jpg": "missing_image", "x/twice.jpg": "missing_caption",
        "y/twice.jpg": "missing_caption", "c.csv:10": "malformed_row",
    }  # fmt: skip


@pytest.mark.parametrize("name, rows", [
    ("c.csv", 'image,caption\nx/a b.jpg,"A dog\nc.jpg,B\n'), ("c.csv", "image,caption\nx/a b.jpg,A,dog\nc.jpg,B\n"),
    ("c.tsv", "image\tcaption\nx/a b.jpg\nc.jpg\tB\n"),
    ("c.jsonl", '{"image": "x/a b.jpg", "caption": "A}\n{"image": "c.jpg", "caption": "B"}\n'),
])  # fmt: skip
def test_a_malformed_row_and_its_image_count_once(name, rows, imported):
    files: Files = {"x/a b.jpg": photo(1), "c.jpg": photo(2), "mute.jpg": photo(3), name: rows}
    pairs, quarantine = imported(files, captions=name)
    line = 2 if "image\t" in rows or "image," in rows else 1
    assert list(pairs) == ["c"]
    assert quarantine == {f"{name}:{line}": "malformed_row", "mute.jpg": "missing_caption"}


def test_a_path_in_full_decides_between_images_of_one_name(imported):
    files: Files = {"x/a.jpg": photo(1), "y/a.jpg": photo(2), "c.csv": "image,caption\nx/a.jpg,X\ny/a.jpg,Y\n"}
    pairs, quarantine = imported(files, captions="c.csv")
    assert ({key: row["caption"] for key, row in pairs.items()}, quarantine) == ({"x/a": "X", "y/a": "Y"}, {})


def test_images_that_differ_in_ending_alone_are_separate_pairs(imported):
    images = {"a.jpg": photo(1), "a.png": photo(2, "PNG"), "a.gif": photo(3, "GIF"), "b.png": photo(4, "PNG")}
    pairs, quarantine = imported(images | {"c.jpg": b"bad", "c.png": photo(5, "PNG")})
    assert list(pairs) == ["a_gif", "a_jpg", "a_png", "b", "c_png"]
    assert quarantine == {"c.jpg": "unreadable_image"}


@pytest.mark.parametrize("container", CONTAINERS)
def test_images_are_known_by_any_ending_or_by_content(container, tmp_path, imported):
    images = {"web.jfif": photo(1), "old.JPE": photo(2), "new.avif": photo(3, "AVIF"), "none": photo(4, "PNG")}
    pairs, quarantine = imported(CONTAINERS[container](tmp_path, images | {"notes": b"text", "moved.jpg": photo(5)}))
    in_order = container.endswith((".gz", ".xz", ".bz2"))  # where names without ending are not looked into
    assert sorted(pairs) == sorted(["moved", "new", "old", "web", *([] if in_order else ["none"])])
    assert quarantine == {"notes": "other_file"} | ({"none": "other_file"} if in_order else {})


def test_a_link_to_nothing_is_a_record_that_is_counted(tmp_path, imported):
    folder = make_folder(tmp_path / "in", {"a.jpg": photo(1)})
    (folder / "b.jpg").symlink_to("../.git/annex/objects/b.jpg")
    pairs, quarantine = imported(folder)
    assert (list(pairs), quarantine) == (["a"], {"b.jpg": "unreadable_image"})


UTKFACE = r"(?:.*/)?(?P<age>\d+)_(?P<gender>[01])_(?P<race>[0-4])_\d+\.jpg\.chip\.jpg"


def test_labels_in_file_names(imported):
    files: Files = {
        "f/25_1_2_2017.jpg.chip.jpg": photo(1), "f/61_0_0_2018.jpg.chip.jpg": photo(2),
        "f/61_1_2017.jpg.chip.jpg": photo(3), "f/55_0_0_2017jpg.chip.jpg": photo(4),
        "f/7_0_3_2017.jpg.chip.jpg": photo(5),
    }  # fmt: skip
    values = {"gender": {"0": "man", "1": "woman"}, "race": {"0": "white", "2": "asian"}}
    pairs, quarantine = imported(files, name_pattern=UTKFACE, values=values)
    assert {key: (row["age"], row["gender"], row["race"]) for key, row in pairs.items()} == {
        "25_1_2_2017_jpg_chip": ("25", "woman", "asian"), "61_0_0_2018_jpg_chip": ("61", "man", "white"),
    }  # fmt: skip
    assert quarantine == dict.fromkeys(
        ["f/61_1_2017.jpg.chip.jpg", "f/55_0_0_2017jpg.chip.jpg", "f/7_0_3_2017.jpg.chip.jpg"], "stray_name"
    )


def test_a_split_column_selects_and_leaves_the_rest_alone(imported):
    files: Files = {"train/cook/1.jpg": photo(1), "test/cook/2.jpg": photo(2), "test/pilot/3.jpg": photo(3)}
    pattern = r"(?P<split>train|test)/(?P<job>\w+)/.*"
    pairs, quarantine = imported(files, split="test", name_pattern=pattern)
    assert ({key: row["job"] for key, row in pairs.items()}, quarantine) == (
        {"test/cook/2": "cook", "test/pilot/3": "pilot"}, {},
    )  # fmt: skip
    assert len(imported(files, name_pattern=pattern)[0]) == 3
    with pytest.raises(InputError, match="nothing says which images are of the split 'test'"):
        imported(files, split="test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name_pattern": "("}, "not a regular expression"),
        ({"name_pattern": ".*"}, "no named group"),
        ({"name_pattern": "(?P<key>.*)"}, "cannot be called 'key'"),
        ({"name_pattern": "(?P<a>.*)", "values": {"b": {"0": "x"}}}, "no column 'b'"),
        ({"captions": "none.csv"}, "no file 'none.csv'"),
        ({"captions": "latin.csv"}, "latin.csv:2: not UTF-8"),
        ({"captions": "empty.csv"}, "2 of 2 records"),
    ],
)
def test_wrong_options_are_input_errors(options, message, imported):
    files: Files = {
        "a.jpg": photo(1),
        "b.jpg": photo(2),
        "latin.csv": b"image,caption\na.jpg,caf\xe9\n",
        "empty.csv": "",
    }
    with pytest.raises(InputError, match=message):
        imported(files, **options)


def test_a_folder_without_images_is_an_input_error(imported):
    with pytest.raises(InputError, match="no image"):
        imported({"a.txt": "x"})


# --- layout flickr8k ------------------------------------------------------------------------------------------------

TOKENS = """\
a.jpg#1\tSecond
a.jpg#0\tFirst
b.jpg#0\tA boy .
c.jpg.1#0\tStray
c.jpg.1#1\tStray
d.jpg#0\tNo photo
broken line
"""


@pytest.fixture(params=["Flicker8k_Dataset", "Flickr8k_Dataset", "Flicker8k_Dataset.tar"])
def flickr8k(request, tmp_path) -> Path:
    photos: Files = {"a.jpg": photo(1), "b.jpg": photo(2), "e.jpg": photo(3)}
    texts = {
        "Flickr8k.token.txt": TOKENS,
        "Flickr_8k.trainImages.txt": "b.jpg\nd.jpg\n",
        "Flickr_8k.devImages.txt": "a.jpg",
    }
    root = make_folder(tmp_path / "flickr", {f"Flickr8k_text/{name}": text for name, text in texts.items()})
    if request.param.endswith(".tar"):
        make_tar(root / request.param, {f"Flicker8k_Dataset/{name}": content for name, content in photos.items()})
    else:
        make_folder(root / request.param, photos)
    return root


def test_flickr8k_splits(flickr8k, imported):
    always = {"c.jpg.1": "stray_name", "Flickr8k.token.txt:7": "malformed_row"}
    pairs, quarantine = imported(flickr8k, split="dev", layout="flickr8k")
    assert {key: row["captions"] for key, row in pairs.items()} == {"a": ["First", "Second"]}
    assert quarantine == always
    pairs, quarantine = imported(flickr8k, split="train", layout="flickr8k")
    assert (list(pairs), quarantine) == (["b"], always | {"d.jpg": "missing_image"})
    pairs, quarantine = imported(flickr8k, layout="flickr8k")
    assert (list(pairs), quarantine) == (["a", "b"], always | {"d.jpg": "missing_image", "e.jpg": "missing_caption"})


def test_flickr8k_without_the_split_names_those_there_are(flickr8k, imported):
    with pytest.raises(InputError, match="testImages.txt is missing\n.*dev, train, all"):
        imported(flickr8k, split="test", layout="flickr8k")


def test_flickr8k_without_captions_is_an_input_error(imported):
    with pytest.raises(InputError, match=r"Flickr8k\.token\.txt is missing"):
        imported({"Flicker8k_Dataset/a.jpg": photo(1)}, layout="flickr8k")


# --- layout webdataset ----------------------------------------------------------------------------------------------


def test_webdataset_as_img2dataset_writes_it(tmp_path, imported):
    meta = {
        "url": "u",
        "caption": "A dog",
        "key": "000000000",
        "status": "success",
        "width": 9,
        "exif": "{}",
        "nsfw": 0.5,
    }
    make_tar(tmp_path / "in" / "00000.tar", {
        "000000000.jpg": photo(1), "000000000.json": json.dumps(meta), "000000000.txt": "A dog",
        "000000001.webp": photo(2, "WEBP"), "000000001.txt": "A\ncat", "000000002.png": photo(3, "PNG"),
        "000000002.json": json.dumps({"captions": ["One", "Two"], "extra": "x"}),
    })  # fmt: skip
    make_tar(tmp_path / "in" / "00001.tar", {"000010000.jpeg": photo(4), "000010000.json": '{"caption": "Late"}'})
    make_folder(tmp_path / "in", {"00000_stats.json": "{}", "00000.parquet": b"x"})
    pairs, quarantine = imported(tmp_path / "in", layout="webdataset")
    assert {key: row["captions"] for key, row in pairs.items()} == {
        "000000000": ["A dog"], "000000001": ["A cat"], "000000002": ["One", "Two"], "000010000": ["Late"],
    }  # fmt: skip
    assert (pairs["000000000"]["url"], pairs["000000000"]["nsfw"], pairs["000000002"]["extra"]) == ("u", "0.5", "x")
    assert not {"status", "exif"} & set(pairs["000000000"])
    assert quarantine == {}


def test_webdataset_bad_records(tmp_path, imported):
    path = make_tar(tmp_path / "in.tar", {
        "a.jpg": photo(1), "a.txt": "A", "b.txt": "no image", "c.jpg": photo(2), "d.jpg": photo(3), "d.json": "{",
        "e.jpg": photo(4), "e.json": "[1]", "f.jpg": photo(5), "f.txt": b"\xff\xfe",
        "g.jpg": photo(6), "g.txt": "x" * 2**21, "h.jpg": photo(7), "h.json": "[" * 100_000,
        "i.jpg": photo(8), "i.json": '{"caption": "half \\ud800 pair"}',
    })  # fmt: skip
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    pairs, quarantine = imported(path, layout="webdataset")
    assert {key: row["caption"] for key, row in pairs.items()} == {"a": "A", "i": "half ? pair"}
    assert quarantine == {
        "a.jpg": "duplicate_key", "b": "missing_image", "c.jpg": "missing_caption", "d.jpg": "malformed_row",
        "e.jpg": "malformed_row", "f.jpg": "malformed_row", "g.jpg": "malformed_row", "h.jpg": "malformed_row",
    }  # fmt: skip


def test_webdataset_split_is_a_folder_of_tars(tmp_path, imported):
    for split, seed in (("train", 1), ("val", 2)):
        make_tar(tmp_path / "in" / split / "0.tar", {f"{split}{seed}.jpg": photo(seed), f"{split}{seed}.txt": "x"})
    assert list(imported(tmp_path / "in", split="val", layout="webdataset")[0]) == ["val/val2"]
    with pytest.raises(InputError, match="no tar in a folder 'test'"):
        imported(tmp_path / "in", split="test", layout="webdataset")


def test_a_data_folder_imported_as_webdataset_is_itself(tmp_path, imported):
    pattern = r"(?P<label>\w)\d\.(jpg|png)"
    files: Files = {f"{c}{i}.jpg": photo(10 * i + ord(c)) for c in "ab" for i in range(3)} | {"a9.png": photo(9, "PNG")}
    files["c.jsonl"] = "\n".join(json.dumps({"image": name, "caption": [f"{name} 1", "2"]}) for name in files)
    first, _ = imported(files, captions="c.jsonl", name_pattern=pattern, shard_size=4)
    os.rename(tmp_path / "out", tmp_path / "first")
    again, quarantine = imported(tmp_path / "first", layout="webdataset", shard_size=4)
    assert quarantine == {}
    assert list(iterate_images(tmp_path / "out")) == list(iterate_images(tmp_path / "first"))
    for row in (*first.values(), *again.values()):
        del row["sha256"]  # of the bytes read: a PNG first, its JPEG then
    assert again == first


# --- the whole ------------------------------------------------------------------------------------------------------


def test_too_many_bad_records_are_an_error_that_shows_them(tmp_path, imported):
    files: Files = {f"{i}.jpg": photo(i) for i in range(18)} | {"x.jpg": b"1", "y.jpg": b"2", "z.jpg": photo(1)}
    imported(files, max_quarantined_share=3 / 21)
    files["notes.txt"] = "no record"
    imported(files, max_quarantined_share=3 / 21)
    before = read_manifest(tmp_path / "out")
    with pytest.raises(InputError) as error:
        imported(files, max_quarantined_share=0.1)
    message = str(error.value)
    assert (
        "3 of 21 records cannot be used (14.3%, at most 10.0% are allowed): unreadable_image 2, duplicate_image 1"
        in message
    )
    assert "unreadable_image: x.jpg" in message and "duplicate_image: z.jpg the same bytes as 1" in message
    assert read_manifest(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_no_good_record_is_an_error_whatever_share_is_allowed(imported):
    with pytest.raises(InputError, match="1 of 1 records cannot be used"):
        imported({"a.jpg": b"x"}, max_quarantined_share=1.0)


def test_the_manifest_counts_and_knows_the_source_by_content(tmp_path, imported):
    files: Files = {"a.jpg": photo(1), "b.jpg": photo(2), "c.jpg": b"x"}
    imported(files)
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["n"], manifest["n_quarantined"], manifest["quarantined"]) == (2, 1, {"unreadable_image": 1})
    imported(make_tar(tmp_path / "in.tar", files))
    moved = read_manifest(tmp_path / "out")
    assert moved["fingerprint"] == manifest["fingerprint"]
    imported(make_folder(tmp_path / "in", {"b.jpg": photo(3)}))
    assert read_manifest(tmp_path / "out")["fingerprint"] != manifest["fingerprint"]


def test_images_are_shrunk_and_their_new_size_is_written(tmp_path, imported):
    pairs, _ = imported({"a.jpg": photo(1, size=(100, 50))}, max_px=20)
    assert (pairs["a"]["width"], pairs["a"]["height"]) == (20, 40)
    ((_, content),) = iterate_images(tmp_path / "out")
    assert Image.open(io.BytesIO(content)).size == (20, 40)


@pytest.mark.parametrize("name", ["a b é.jpg", "x" * 200 + ".jpg", "é" * 100 + ".jpg", "caf\u0065\u0301.jpg"])
def test_odd_names_become_keys_that_tars_and_tables_hold(name, tmp_path, imported):
    pairs, quarantine = imported(make_tar(tmp_path / "in.tar", {name: photo(1)}, "w"))
    assert (len(pairs), quarantine) == (1, {})
    assert [key for key, _ in iterate_images(tmp_path / "out")] == list(pairs)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120))
def test_keys_fit_have_no_dot_and_are_stable(first, second):
    key = key_of(f"{first}.jpg")
    assert "." not in key and len(key.encode()) <= MAX_KEY_BYTES and key == key_of(f"{first}.jpg")
    if first.replace(".", "_") != second.replace(".", "_"):
        assert key != key_of(f"{second}.jpg")


@settings(deadline=None)
@given(st.text())
def test_one_line_removes_every_line_break_of_unicode(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1 and line == line.strip()
    line.encode()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["good", "same", "cut", "text"]), min_size=1, max_size=12))
def test_every_record_is_either_a_pair_or_in_quarantine(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("import")
    content = {
        "good": photo,
        "same": lambda i: photo(-1 % 2**32),
        "cut": lambda i: photo(i)[:150],
        "text": lambda i: b"x",
    }
    make_folder(folder / "in", {f"{i}.jpg": content[kind](i) for i, kind in enumerate(kinds)})
    options = ImportOptions(max_quarantined_share=1)
    n_good = kinds.count("good") + min(1, kinds.count("same"))
    if n_good == 0:
        with pytest.raises(InputError):
            import_dataset(folder / "in", folder / "out", "all", options)
        return
    import_dataset(folder / "in", folder / "out", "all", options)
    manifest = read_manifest(folder / "out")
    assert (manifest["n"], manifest["n"] + manifest["n_quarantined"]) == (n_good, len(kinds))
    assert [key for key, _ in iterate_images(folder / "out")] == read_pairs(folder / "out").column("key").to_pylist()


# --- verify ---------------------------------------------------------------------------------------------------------


def test_verify_names_every_shard_that_is_not_as_it_was_written(tmp_path, imported):
    imported({f"{i}.jpg": photo(i) for i in range(6)}, shard_size=2)
    out = tmp_path / "out"
    assert verify_dataset(out) == 6
    content = bytearray((out / "00001.tar").read_bytes())
    content[700] ^= 1
    (out / "00001.tar").write_bytes(content)
    (out / "00002.parquet").unlink()
    (out / "00003.tar").write_bytes(b"")
    with pytest.raises(InputError) as error:
        verify_dataset(out)
    assert error.value.what == (
        "00001.tar: it has changed: its SHA-256 sum is not the manifest's; "
        "00002.parquet: cannot be read (No such file or directory); 00003.tar: not in the manifest"
    )
    with pytest.raises(InputError, match="not a data folder"):
        verify_dataset(tmp_path)
