"""Snakemake's checksums: computed once for each state of a file."""

import asyncio
import hashlib
import os

import pytest

from evenclip.study.checksums import once_for_each_state, remember_checksums


class File:
    """Like Snakemake's file: a path with a checksum for small files."""

    read = []

    def __init__(self, path):
        self.file = str(path)

    async def checksum(self, threshold=None):
        self.read.append(self.file)
        if not os.path.exists(self.file) or os.path.getsize(self.file) > threshold:
            return None
        with open(self.file, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(File, "read", [])
    monkeypatch.setattr(File, "checksum", once_for_each_state(File.checksum))
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    of = lambda name, *limit: asyncio.run(File(name).checksum(*limit))  # noqa: E731
    first = of(path, 10)
    assert first == of(path, 10) == hashlib.sha256(b"one").hexdigest() and len(File.read) == 1
    assert of(path, 2) is of(path, 2) is None and len(File.read) == 3  # too large for this question
    os.utime(path, ns=(0, 0))
    assert of(path, 10) == first and len(File.read) == 4
    path.write_bytes(b"six")
    os.utime(path, ns=(0, 0))  # written in place, with its time put back
    assert of(path, 10) == hashlib.sha256(b"six").hexdigest()
    (tmp_path / "new").write_bytes(b"two")
    os.utime(tmp_path / "new", ns=(0, 0))
    os.replace(tmp_path / "new", path)  # of the same size and time
    assert of(path, 10) == hashlib.sha256(b"two").hexdigest()


def test_a_file_in_a_storage_is_asked_for_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(File, "read", [])
    monkeypatch.setattr(File, "is_storage", True, raising=False)
    monkeypatch.setattr(File, "checksum", once_for_each_state(File.checksum))
    (tmp_path / "local copy").write_bytes(b"one")
    for _ in range(2):
        asyncio.run(File(tmp_path / "local copy").checksum(10))
    assert len(File.read) == 2


def test_a_missing_file_is_asked_for_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(File, "read", [])
    monkeypatch.setattr(File, "checksum", once_for_each_state(File.checksum))
    for _ in range(2):
        assert asyncio.run(File(tmp_path / "none").checksum(10)) is None
    assert len(File.read) == 2


def test_snakemakes_own_files_remember(tmp_path, monkeypatch):
    io = pytest.importorskip("snakemake.io")
    plain = io._IOFile.checksum
    monkeypatch.setattr(io._IOFile, "checksum", plain)
    remember_checksums(io._IOFile)
    remembering = io._IOFile.checksum
    assert remembering is not plain
    remember_checksums(io._IOFile)
    assert io._IOFile.checksum is remembering  # once, however often the Snakefile is read
    remember_checksums(None)
