"""Fuzz the readers of tars: those that are imported, and the shards of a data folder. `--seconds 300`.

What the reader of imported tars gives is what tarfile gives, or it refuses the tar, also where tarfile takes a broken
header for the end. A damaged shard is refused unless its images are the same.
"""

import io
import json
import shutil
import sys
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from evenclip.data.importing import import_dataset
from evenclip.data.options import ImportOptions
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.data.source import Source, UnreadableFile
from evenclip.errors import InputError
from evenclip.provenance import Manifest
from support.archives import tar_of
from support.fuzzing import damaged, main

NAMES = ["a.txt", "b/c.jpg", "b/d.txt", "x" * 120 + ".txt", "é.txt"]


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(NAMES):
            archive.writestr(name, f"content of {number}" * 40)
    return buffer.getvalue()


TAR = tar_of({name: f"content of {number}".encode() * 40 for number, name in enumerate(NAMES)})
ZIP = _zip()


def _listing(path: Path) -> dict[str, bytes]:
    with Source(path) as source:
        return {file.name: source.read(file) for file in source.files()}


def damaged_tars_are_refused_or_read_as_tarfile_does(data: st.DataObject) -> str:
    content = damaged(data, TAR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.tar"
        path.write_bytes(content)
        try:
            files = _listing(path)
        except (InputError, UnreadableFile):
            return "refused"
        with tarfile.open(path) as archive:
            members = [member for member in archive.getmembers() if member.isreg()]
            expected = {member.name: archive.extractfile(member).read() for member in members}
    assert sorted(files.values()) == sorted(
        value
        for name, value in expected.items()
        if name.encode("utf-8", "backslashreplace").decode() and _is_shown(name)
    ), (files.keys(), expected.keys())
    return "equal"


def _is_shown(name: str) -> bool:
    parts = Path(name).parts
    return not (
        Path(name).is_absolute() or ".." in parts or "__MACOSX" in parts or any(p.startswith(".") for p in parts)
    )


def damaged_zips_keep_their_contents(data: st.DataObject) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.zip"
        path.write_bytes(damaged(data, ZIP))
        try:
            files = _listing(path)
        except (InputError, UnreadableFile):
            return "refused"
    whole = {f"content of {number}".encode() * 40 for number in range(len(NAMES))}
    assert set(files.values()) <= whole | {b""}, files.keys()
    return "equal"


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp()) / "data"
    with write_shards(folder, Manifest("data", {}, {}), shard_size=4) as writer:
        for i in range(8):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(buffer, "JPEG")
            writer.add(f"k{i}", buffer.getvalue(), [f"caption {i}"], {}, width=8, height=8, sha256=str(i))
    return folder


@cache
def _whole() -> tuple[list, list]:
    return list(iterate_images(_folder())), read_pairs(_folder()).to_pylist()


def damaged_data_folders_are_refused_or_equal(data: st.DataObject) -> str:
    whole = _whole()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "data"
        shutil.copytree(_folder(), folder)
        names = sorted(path.name for path in folder.iterdir() if path.name != ".evenclip")
        name = data.draw(st.sampled_from(names))
        (folder / name).write_bytes(damaged(data, (folder / name).read_bytes()))
        try:
            assert (list(iterate_images(folder)), read_pairs(folder).to_pylist()) == whole, name
        except InputError:
            return "refused"
    return "equal"


def damaged_webdatasets_are_imported_or_refused(data: st.DataObject) -> str:
    """The import of a damaged WebDataset ends in a message, or each image has the caption of its own key."""
    tar = damaged(data, (_folder() / "00000.tar").read_bytes())
    with tempfile.TemporaryDirectory() as parent:
        (Path(parent) / "raw").mkdir()
        (Path(parent) / "raw" / "00000.tar").write_bytes(tar)
        options = ImportOptions(layout="webdataset", max_quarantined_share=1.0)
        try:
            import_dataset(Path(parent) / "raw", Path(parent) / "out", "all", options)
            pairs = read_pairs(Path(parent) / "out").to_pylist()
        except InputError:
            return "refused"
    said = _captions(tar)
    for pair in pairs:
        assert set(pair["captions"]) <= said, (pair["captions"], said)
    return "equal"


def _captions(tar: bytes) -> set[str]:
    """All captions in the `.txt` and `.json` members, as tarfile and json read them."""
    said: list[str] = []
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive.getmembers():
            if not member.isreg():
                continue
            content = archive.extractfile(member).read()
            if member.name.endswith(".txt"):
                said.append(content.decode(errors="replace"))
            elif member.name.endswith(".json"):
                with suppress(ValueError, AttributeError):
                    row = json.loads(content)
                    captions = row.get("captions")
                    said += [
                        str(text) for text in [row.get("caption"), *(captions if isinstance(captions, list) else [])]
                    ]
    return {" ".join(text.split()).encode("utf-8", "replace").decode() for text in said}


PROPERTIES = [
    damaged_tars_are_refused_or_read_as_tarfile_does, damaged_zips_keep_their_contents,
    damaged_data_folders_are_refused_or_equal, damaged_webdatasets_are_imported_or_refused,
]  # fmt: skip

if __name__ == "__main__":
    main(PROPERTIES)
