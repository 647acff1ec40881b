"""The shards' tar writer: byte for byte what `tarfile` writes."""

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenclip.data.shard_writer import LONGEST_NAME, TarWriter, header

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda name: len(name.encode()) <= LONGEST_NAME
)
PAIRS = st.lists(st.dictionaries(NAMES, st.binary(max_size=3000), min_size=1, max_size=3), max_size=4)


def by_tarfile(pairs: list[dict[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (item for members in pairs for item in members.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@given(pairs=PAIRS)
def test_the_bytes_are_those_of_tarfile(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "00000.tar"
    writer = TarWriter(path)
    for members in pairs:
        writer.add(members)
    digest = writer.close()
    assert path.read_bytes() == by_tarfile(pairs)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@given(size=st.integers(0, 8**11 - 1))
def test_the_header_of_any_size_that_fits_is_read_back(size):
    read = tarfile.TarInfo.frombuf(header("a.jpg", size), "utf-8", "strict")
    assert (read.name, read.size, read.mtime, read.uid) == ("a.jpg", size, 0, 0)


@pytest.mark.parametrize(("name", "size"), [("x" * (LONGEST_NAME + 1), 1), ("é" * 51, 1), ("a", 8**11)])
def test_what_does_not_fit_into_a_header_is_refused(name, size):
    with pytest.raises(ValueError, match="does not fit"):
        header(name, size)
