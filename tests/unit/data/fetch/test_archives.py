"""Archives: what is honest comes out byte for byte, what is hostile or broken leaves nothing behind."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evenclip.data.fetch.archives import UnpackOptions, check_whole, unpack
from evenclip.errors import InputError
from evenclip.provenance import MARK

FILES = {"set/a.txt": b"first", "set/deep/b.bin": bytes(range(256)) * 40, "empty": b""}
LIMITS = UnpackOptions()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}  # fmt: skip


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def named(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, content


def zip_of(files: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def saved(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARK
    }


def refused(archive: Path, limits: UnpackOptions = LIMITS) -> str:
    """The message of the refusal, after checking that nothing else is there."""
    before = sorted(archive.parent.iterdir())
    with pytest.raises(InputError) as raised:
        unpack(archive, archive.parent / "out", limits)
    assert sorted(archive.parent.iterdir()) == before
    assert not (archive.parent.parent / "evil").exists()
    return str(raised.value)


@pytest.mark.parametrize("ending", [".zip", *PACKERS])
def test_honest_archives_come_out_byte_for_byte(tmp_path, ending):
    if ending == ".zip":
        packed = zip_of({"set/": b"", **FILES})
    else:
        folder = named("set", b"", tarfile.DIRTYPE)
        packed = PACKERS[ending](tar_of(folder, *(named(name, content) for name, content in FILES.items())))
    archive = saved(tmp_path, "set" + ending, packed)
    assert unpack(archive, tmp_path / "out", LIMITS) == 3
    assert contents(tmp_path / "out") == FILES
    check_whole(archive, archive.name)


def test_modes_of_the_archive_are_not_taken_over(tmp_path):
    member, content = named("tool")
    member.mode = 0o6777
    unpack(saved(tmp_path, "a.tar", tar_of((member, content))), tmp_path / "out", LIMITS)
    assert (tmp_path / "out" / "tool").stat().st_mode & 0o6111 == 0


@pytest.mark.parametrize("name", ["/evil", "../evil", "a/../../evil", "a\\..\\..\\evil", "C:/evil"])
@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_names_that_lead_outside_are_refused(tmp_path, name, ending):
    packed = zip_of({"ok": b"x", name: b"x"}) if ending == ".zip" else tar_of(named("ok"), named(name))
    (tmp_path / "in").mkdir()
    assert "leads outside" in refused(saved(tmp_path / "in", "a" + ending, packed))


LINKS = {
    "symlink": (tarfile.SYMTYPE, "../../evil"), "inner symlink": (tarfile.SYMTYPE, "ok"),
    "hard link": (tarfile.LNKTYPE, "/etc/passwd"), "fifo": (tarfile.FIFOTYPE, ""), "device": (tarfile.CHRTYPE, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", LINKS)
def test_links_and_devices_in_tars_are_refused(tmp_path, kind):
    archive = saved(tmp_path, "a.tar", tar_of(named("ok"), named("odd", b"", *LINKS[kind]), named("odd/evil")))
    assert "'odd' is a link or a device" in refused(archive)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_zips_are_refused(tmp_path, mode):
    archive = saved(tmp_path, "a.zip", zip_of({"odd": b"../evil"}, {"odd": mode}))
    assert "'odd' is a link or a device" in refused(archive)


@pytest.mark.parametrize("second", ["a", "a/b"])
def test_a_name_given_twice_is_refused(tmp_path, second):
    archive = saved(tmp_path, "a.tar", tar_of(named("a"), named(second)))
    assert f"the name '{second}' is given twice" in refused(archive)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz"])
def test_bombs_are_stopped_by_what_they_write(tmp_path, ending):
    zeros = bytes(8 * 2**20)
    packed = zip_of({"zeros": zeros}) if ending == ".zip" else PACKERS[ending](tar_of(named("zeros", zeros)))
    archive = saved(tmp_path, "bomb" + ending, packed)
    assert "max_ratio=5" in refused(archive, UnpackOptions(max_ratio=5))
    assert "max_gb=0.005" in refused(archive, UnpackOptions(max_gb=0.005))
    assert unpack(archive, tmp_path / "out", UnpackOptions(max_ratio=10)) == 1


def test_a_bomb_in_what_is_skipped_is_stopped_too(tmp_path):
    sparse, _ = named("sparse", kind=tarfile.GNUTYPE_SPARSE)
    sparse.size = 2**40  # nothing of it is content, but tarfile would read a terabyte to step over it
    packed = gzip.compress(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(8 * 2**20))
    assert "max_ratio=5" in refused(saved(tmp_path, "bomb.tar.gz", packed), UnpackOptions(max_ratio=5))


def test_a_header_that_wants_all_memory_is_refused(tmp_path):
    header, _ = named("header", kind=tarfile.XHDTYPE)
    header.size = 2**40
    packed = tar_of(named("ok"))[:1024] + header.tobuf(tarfile.GNU_FORMAT)
    assert "a header of" in refused(saved(tmp_path, "a.tar", packed))


def test_a_zip_cannot_lie_about_sizes(tmp_path):
    packed = bytearray(zip_of({"a": bytes(2**20)}))
    at = packed.rindex(b"PK\x01\x02")
    packed[at + 24 : at + 28] = (10).to_bytes(4, "little")  # uncompressed size in the directory
    assert "cannot be unpacked" in refused(saved(tmp_path, "a.zip", bytes(packed)))


def test_too_many_members_are_refused(tmp_path):
    archive = saved(tmp_path, "a.zip", zip_of({str(i): b"" for i in range(11)}))
    assert "max_members=10" in refused(archive, UnpackOptions(max_members=10))
    assert unpack(archive, tmp_path / "out", UnpackOptions(max_members=11)) == 11


BROKEN = {
    "cut.zip": zip_of(FILES)[:-30],
    "cut.tar": tar_of(*(named(*file) for file in FILES.items()))[:9000],
    "no-end.tar": tar_of(named("a", bytes(512)), named("b"))[: 2 * 512 + 512],
    "header.tar": tar_of(named("a", bytes(512)), named("b"))[: 2 * 512] + b"\x07" * 512 * 3,
    "cut.tar.gz": gzip.compress(tar_of(*(named(*file) for file in FILES.items())))[:-9],
    "not.zip": b"<!doctype html><html></html>",
    "not.tgz": b"<!doctype html><html></html>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives_leave_nothing_and_are_not_whole(tmp_path, name):
    archive = saved(tmp_path, name, BROKEN[name])
    with pytest.raises(InputError, match="not whole"):
        check_whole(archive, archive.name)
    assert "cannot be unpacked" in refused(archive)


def test_a_wrong_byte_in_a_zip_is_found(tmp_path):
    packed = bytearray(zip_of({"a": bytes(range(256)) * 4}))
    packed[60] ^= 1
    assert "cannot be unpacked" in refused(saved(tmp_path, "a.zip", bytes(packed)))


def test_a_password_is_no_crash(tmp_path):
    packed = bytearray(zip_of({"a": b"secret"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(mark) + at] |= 1  # the bit that says encrypted
    assert "password" in refused(saved(tmp_path, "a.zip", bytes(packed)))


def test_gz_of_one_file_is_checked_to_its_end(tmp_path):
    packed = gzip.compress(bytes(range(256)) * 9)
    check_whole(saved(tmp_path, "whole.part", packed), "whole.csv.gz")
    check_whole(saved(tmp_path, "no.csv", b"text has no end mark"), "no.csv")
    with pytest.raises(InputError, match="not whole"):
        check_whole(saved(tmp_path, "cut.part", packed[:-1]), "cut.csv.gz")


def test_what_is_there_is_not_overwritten(tmp_path):
    archive = saved(tmp_path, "a.zip", zip_of(FILES))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        unpack(archive, tmp_path / "out", LIMITS)
    with pytest.raises(InputError, match="not a .tar or a .zip"):
        unpack(saved(tmp_path, "a.rar", b""), tmp_path / "new", LIMITS)
