"""A file of unknown size and checksum: whole archives pass, cut and broken ones do not."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable

import pytest

from evenclip.data.fetch.checksums import check_whole
from evenclip.errors import InputError
from support.archives import tar_of

FILES = {"set/a.txt": b"first", "set/deep/b.bin": bytes(range(256)) * 40, "empty": b""}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}  # fmt: skip


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("ending", [".zip", *PACKERS])
def test_whole_archives_pass(tmp_path, ending):
    path = tmp_path / "set.part"
    path.write_bytes(zip_of(FILES) if ending == ".zip" else PACKERS[ending](tar_of(FILES)))
    check_whole(path, "set" + ending)


TWO = tar_of({"a": bytes(512), "b": b"x"})
BROKEN = {
    "cut.zip": zip_of(FILES)[:-30],
    "cut.tar": tar_of(FILES)[:9000],
    "no-end.tar": TWO[: 2 * 512 + 512],
    "header.tar": TWO[: 2 * 512] + b"\x07" * 512 * 3,
    "cut.tar.gz": gzip.compress(tar_of(FILES))[:-9],
    "not.zip": b"<!doctype html><html></html>",
    "not.tgz": b"<!doctype html><html></html>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives_are_not_whole(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(InputError, match="not whole"):
        check_whole(path, name)


def test_a_compressed_file_is_checked_to_its_end(tmp_path):
    packed = gzip.compress(bytes(range(256)) * 9)
    for name, content in {"whole.part": packed, "cut.part": packed[:-1], "no.csv": b"text has no end mark"}.items():
        (tmp_path / name).write_bytes(content)
    check_whole(tmp_path / "whole.part", "whole.csv.gz")
    check_whole(tmp_path / "no.csv", "no.csv")
    with pytest.raises(InputError, match="not whole"):
        check_whole(tmp_path / "cut.part", "cut.csv.gz")
