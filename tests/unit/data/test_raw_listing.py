"""Raw files: what can change an import changes their fingerprint, what cannot does not."""

import os
import time
from pathlib import Path

import pytest

from evenclip.data import raw_listing
from evenclip.data.raw_listing import fingerprint_files
from evenclip.data.source import Source
from evenclip.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for name in ("man/a.jpg", "woman/b.jpg", "labels.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name},0")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.jpg").write_text("c")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "d.jpg").symlink_to(tmp_path / "elsewhere/c.jpg")
    return folder


def edit_in_place(root: Path) -> None:
    times = (root / "labels.csv").stat()
    (root / "labels.csv").write_text("labels.csv,1")
    os.utime(root / "labels.csv", ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES = {
    "edited in place to equal size and time": edit_in_place,
    "moved": lambda root: (root / "man/a.jpg").rename(root / "woman/a.jpg"),
    "renamed": lambda root: (root / "man/a.jpg").rename(root / "man/c.jpg"),
    "added": lambda root: (root / "man/c.jpg").write_text("c"),
    "removed": lambda root: (root / "man/a.jpg").unlink(),
    "added below a linked folder": lambda root: (root / "linked/e.jpg").write_text("e"),
    "edited behind a link": lambda root: (root.parent / "elsewhere/c.jpg").write_text("C"),
    "dangling": lambda root: (root / "man/x.jpg").symlink_to("/nowhere/annexed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(root, tmp_path, change):
    before = fingerprint_files(root, tmp_path / "cache")
    assert before and fingerprint_files(root, tmp_path / "cache") == before
    CHANGES[change](root)
    assert fingerprint_files(root, tmp_path / "cache") != before


def test_a_replaced_target_and_a_link_that_gets_one_are_seen(root, tmp_path):
    seen = {fingerprint_files(root, tmp_path / "cache")}
    for target in ("/nowhere/annexed", "/nowhere/other", tmp_path / "raw/labels.csv"):
        (root / "d.jpg").unlink()
        (root / "d.jpg").symlink_to(target)
        seen.add(fingerprint_files(root, tmp_path / "cache"))
    assert len(seen) == 4


def test_times_and_hidden_files_change_nothing(root, tmp_path):
    before = fingerprint_files(root, tmp_path / "cache")
    for path in (root, root / "man", root / "man/a.jpg", root / "labels.csv"):
        os.utime(path, (1, 1))
    (root / ".DS_Store").write_text("x")
    (root / ".git").mkdir()
    (root / ".git/index").write_text("x")
    assert fingerprint_files(root, tmp_path / "cache") == before


def test_contents_are_hashed_once(root, tmp_path, monkeypatch):
    monkeypatch.setattr(raw_listing, "SETTLED_S", -time.time())  # everything has settled
    before = fingerprint_files(root, tmp_path / "cache")
    hashed = []
    whole = raw_listing.sha256_file
    monkeypatch.setattr(raw_listing, "sha256_file", lambda path: hashed.append(path.name) or whole(path))
    assert fingerprint_files(root, tmp_path / "cache") == before and hashed == []
    os.utime(root / "labels.csv", (1, 1))
    assert fingerprint_files(root, tmp_path / "cache") == before and hashed == ["labels.csv"]


@pytest.mark.parametrize("content", ["{", "[]", '{"labels.csv": 3}', '{"labels.csv": [1, "x"]}'])
def test_a_damaged_or_missing_cache_costs_only_time(root, tmp_path, monkeypatch, content):
    monkeypatch.setattr(raw_listing, "SETTLED_S", -time.time())
    expected = fingerprint_files(root, tmp_path / "cache")
    (tmp_path / "damaged").mkdir()
    for path in (tmp_path / "cache").iterdir():
        (tmp_path / "damaged" / path.name).write_text(content)
    assert fingerprint_files(root, tmp_path / "damaged") == expected
    (tmp_path / "file").write_text("")
    assert fingerprint_files(root, tmp_path / "file/below") == expected


def test_large_files_are_known_by_size_and_time(root, tmp_path, monkeypatch):
    monkeypatch.setattr(raw_listing, "LARGE", 3)
    before = fingerprint_files(root, tmp_path / "cache")
    os.utime(root / "labels.csv", (1, 1))
    assert fingerprint_files(root, tmp_path / "cache") != before


def test_a_file_is_a_root_and_nothing_is_empty(root, tmp_path):
    assert fingerprint_files(root / "labels.csv", tmp_path / "cache")
    assert fingerprint_files(tmp_path / "missing", tmp_path / "cache") == ""


def test_links_to_nothing_are_files_that_cannot_be_read(root):
    (root / "man/x.jpg").symlink_to("/nowhere/annexed")
    (root / "up").symlink_to(root)
    with Source(root) as source:
        assert [file.name for file in source.files()] == [
            "d.jpg", "labels.csv", "linked/c.jpg", "man/a.jpg", "man/x.jpg", "woman/b.jpg",
        ]  # fmt: skip


def test_a_folder_that_cannot_be_read_is_an_error(root, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="the folder cannot be read"), Source(root) as source:
        source.files()
