"""Manifests record what was written with them, and readers compare it."""

import json
import os

import pyarrow as pa
import pytest

from evenclip.digests import check_digest, check_output, manifest_beside, sha256_file, sha256_once, with_digest
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_folder, input_digest, only_writer
from evenclip.tables import read_table, write_table


@pytest.fixture
def folder(tmp_path):
    with atomic_folder(tmp_path / "out") as temporary:
        write_table(pa.table({"key": ["a", "b"]}), temporary / "weights.parquet")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a.txt").write_text("a")
        Manifest("balance", {"x": 0.1}, {}).write(temporary / "manifest.json", n=2)
    return tmp_path / "out"


def test_a_folders_manifest_records_every_file(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["outputs"].keys() == {"weights.parquet", "sub/a.txt"}
    size, digest = (folder / "weights.parquet").stat().st_size, sha256_file(folder / "weights.parquet")
    assert manifest["outputs"]["weights.parquet"] == {"bytes": size, "sha256": digest}


def test_a_file_in_place_of_another_is_refused(folder):
    write_table(pa.table({"key": ["a", "c"]}), folder / "weights.parquet")
    with pytest.raises(InputError, match="SHA-256 sum is not the manifest's"):
        read_table(folder / "weights.parquet")


def test_a_manifest_that_was_edited_is_refused(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"n": 2', '"n": 3'))
    with pytest.raises(InputError, match="its digest is another one"):
        input_digest(folder)
    with pytest.raises(InputError, match="its digest is another one"):
        read_table(folder / "weights.parquet")


def test_half_a_manifest_is_refused(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(InputError, match="not a whole manifest"):
        read_table(folder / "weights.parquet")


def test_a_single_files_manifest_lies_beside_it(tmp_path):
    path = tmp_path / "labels.parquet"
    write_table(pa.table({"key": ["a"]}), path)
    Manifest("label", {}, {}).write(path.with_suffix(".json"), [path])
    check_output(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"it has \d+ bytes, but \d+ were written"):
        check_output(path)


def test_files_of_others_are_taken_as_they_are(tmp_path):
    for text in ("{}", "[1", '{"stage": "x"}', '{"icons": []}'):
        (tmp_path / "manifest.json").write_text(text)
        (tmp_path / "a.txt").write_text("a")
        check_output(tmp_path / "a.txt")


def test_a_flipped_byte_of_a_page_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(pa.table({"key": [f"key {i}" for i in range(100)]}), path)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_table(path)


def test_the_digest_of_an_edited_file_is_computed_again(tmp_path):
    path = tmp_path / "a"
    path.write_text("a")
    os.utime(path, (1, 1))
    first = sha256_once(path)
    path.write_text("b")
    assert sha256_once(path) != first


def test_two_writers_of_one_output_refuse(tmp_path):
    with atomic_folder(tmp_path / "out"):
        with pytest.raises(InputError, match="another command is writing it"), atomic_folder(tmp_path / "out"):
            pass
        with atomic_folder(tmp_path / "out2"):
            pass
    with only_writer(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out2"]


def test_the_output_of_another_stage_is_not_replaced(folder):
    for stage in ("train", None):
        with (
            pytest.raises(InputError, match="the output of stage 'balance' would be replaced"),
            atomic_folder(folder) as new,
        ):
            if stage:
                Manifest(stage, {}, {}).write(new / "manifest.json")
    assert read_table(folder / "weights.parquet").num_rows == 2 and len(list(folder.parent.iterdir())) == 1
    with atomic_folder(folder) as new:
        Manifest("balance", {}, {}).write(new / "manifest.json")
    assert not (folder / "weights.parquet").exists()


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    old = tmp_path / ".out.abcdefgh.old" / "out"
    old.mkdir(parents=True)
    (old / ".evenclip").touch()
    (old / "a").write_text("precious")
    (tmp_path / ".out.ijklmnop.tmp").mkdir()
    (tmp_path / ".out.b.ijklmnop.tmp").mkdir()  # of another output, "out.b"
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out"):
        raise RuntimeError
    assert (tmp_path / "out" / "a").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.b.ijklmnop.tmp", "out"]


def test_keys_that_are_no_text_are_refused(tmp_path):
    keys = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xb3")])
    write_table(pa.table({"key": keys}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("changes", [
    {"outputs": ["w.parquet"]}, {"outputs": {"w.parquet": 3}}, {"outputs": {"w.parquet": {"sha256": "0"}}},
    {"shards": 3}, {"shards": [{"name": "0"}]}, {"inputs": ["x"]}, {"inputs": {"x": {}}},
])  # fmt: skip
def test_a_manifest_of_another_form_is_named(changes, tmp_path):
    (tmp_path / "w.parquet").write_bytes(b"w")
    (tmp_path / "manifest.json").write_text(json.dumps(with_digest({"stage": "balance", "fingerprint": "0"} | changes)))
    with pytest.raises(InputError, match="manifest.json: not a whole manifest"):
        check_output(tmp_path / "w.parquet")


def test_a_manifest_never_overwrites_its_output():
    assert manifest_beside("labels.parquet").name == "labels.json"
    with pytest.raises(InputError, match="its manifest would be written there"):
        manifest_beside("labels.json")


@pytest.mark.parametrize("lost", ["digest", "metrics"])
def test_a_lost_digest_does_not_hide_another_change(tmp_path, lost):
    document = with_digest({"manifest": {"stage": "evaluate"}, "metrics": {"acc1": 0.5}})
    check_digest(document, "people.json")
    renamed = {"x" + key if key == lost else key: value for key, value in document.items()}
    with pytest.raises(InputError, match="digest"):
        check_digest(renamed, "people.json")
