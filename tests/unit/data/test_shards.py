"""A data folder that was cut, mixed or changed is an error that names the file, and never other pairs."""

import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images, locate_images, read_manifest, read_pairs, verify_dataset
from evenclip.digests import fingerprint, sha256_file, with_digest
from evenclip.errors import InputError
from evenclip.provenance import Manifest

N, SHARD = 40, 10


def content_of(number: int) -> bytes:
    return np.random.default_rng(number).bytes(300 + 7 * number)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "data"
    with write_shards(folder, Manifest("data", {}, {}), SHARD) as writer:
        for number in range(N):
            key = f"{number:05d}"
            writer.add(key, content_of(number), [f"caption {number}"], {}, width=1, height=1, sha256="")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "data"))


def cut_between_pairs(folder: Path) -> None:
    with tarfile.open(folder / "00001.tar") as tar:
        end = tar.getmembers()[3 * 5].offset  # the first member of the sixth pair
    path = folder / "00001.tar"
    path.write_bytes(path.read_bytes()[:end] + bytes(1024))


def swapped(folder: Path) -> None:
    first, second = (folder / "00001.tar").read_bytes(), (folder / "00002.tar").read_bytes()
    (folder / "00001.tar").write_bytes(second)
    (folder / "00002.tar").write_bytes(first)


def missing(folder: Path) -> None:
    (folder / "00001.tar").unlink()


def concatenated(folder: Path) -> None:
    with (folder / "00001.tar").open("ab") as file:
        file.write((folder / "00002.tar").read_bytes())


def doubled(folder: Path) -> None:
    rewrite(folder / "00001.tar", lambda members: members + members)


def interleaved(folder: Path) -> None:
    rewrite(folder / "00001.tar", lambda members: members[::2] + members[1::2])


def joined_without_an_end(folder: Path) -> None:
    other = members_of(folder / "00002.tar")
    rewrite(folder / "00001.tar", lambda members: members + other)


def members_of(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar.getmembers()]


def rewrite(path: Path, change: Callable[[list], list]) -> None:
    import io

    members = change(members_of(path))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))


def sign_again(folder: Path) -> None:
    """A manifest that agrees with the files as they are now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for shard in manifest["shards"]:
        for name in shard["sha256"]:
            shard["sha256"][name], shard["bytes"][name] = sha256_file(folder / name), (folder / name).stat().st_size
    manifest["content"] = fingerprint([shard["sha256"] for shard in manifest["shards"]])
    (folder / "manifest.json").write_text(json.dumps(with_digest(manifest)))


FAULTS = [cut_between_pairs, swapped, missing, concatenated, doubled, interleaved, joined_without_an_end]


def test_whole_folders_give_each_pair_its_image(whole):
    pairs = dict(iterate_images(whole))
    assert list(pairs) == read_pairs(whole)["key"].to_pylist()
    assert pairs == {f"{number:05d}": content_of(number) for number in range(N)}
    assert verify_dataset(whole) == N


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("read", [iterate_images, locate_images, verify_dataset])
def test_a_wrong_tar_is_one_line_that_names_it(folder, fault, read):
    fault(folder)
    with pytest.raises(InputError, match=r"00001\.tar") as raised:
        result = read(folder)
        assert not isinstance(result, int)
        list(result)
    assert "\n" not in raised.value.what


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in (missing, concatenated)])
def test_keys_are_compared_even_where_digests_agree(folder, fault):
    fault(folder)
    sign_again(folder)
    with pytest.raises(InputError, match=r"00001\.tar: the image"):
        list(iterate_images(folder))


def test_a_cut_tar_is_noticed_without_reading_images(folder):
    cut_between_pairs(folder)
    with pytest.raises(InputError, match=r"00001\.tar: it has \d+ bytes, but \d+ were written"):
        read_pairs(folder, ["key"])


def test_wanted_images_alone_are_read_and_all_must_be_there(whole):
    assert [key for key, _ in iterate_images(whole, {"00031", "00002"})] == ["00002", "00031"]
    with pytest.raises(InputError, match="1 of 2 images are not there"):
        list(iterate_images(whole, {"00031", "no such key"}))


def test_a_file_that_no_manifest_lists_is_reported(folder):
    shutil.copy(folder / "00000.tar", folder / "00009.tar")
    with pytest.raises(InputError, match=r"00009\.tar: not in the manifest"):
        verify_dataset(folder)


def read_all(folder: Path) -> tuple:
    """Everything that stages take from a data folder."""
    shards = [(shard["name"], shard["n"]) for shard in read_manifest(folder)["shards"]]
    return read_pairs(folder).to_pylist(), list(iterate_images(folder)), shards


def damaged(whole: Path, folder: Path, kind: str, n: int) -> tuple[int, int]:
    """How many of ``n`` random cuts or byte flips are noticed, and how many leave everything that is read equal."""
    files = [path.name for path in sorted(whole.iterdir()) if path.suffix in (".tar", ".parquet", ".json")]
    files.remove("quarantine.parquet")
    expected, draw = read_all(whole), random.Random(0)
    noticed = equal = 0
    for _ in range(n):
        path = folder / draw.choice(files)
        content = (whole / path.name).read_bytes()
        at = draw.randrange(len(content))
        flipped = bytes([content[at] ^ draw.randrange(1, 256)])
        path.write_bytes(content[:at] if kind == "cut" else content[:at] + flipped + content[at + 1 :])
        try:
            equal += read_all(folder) == expected
        except InputError:
            noticed += 1
        path.write_bytes(content)
    return noticed, equal


@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_random_damage_is_noticed_or_changes_nothing(whole, folder, kind):
    n = 100
    noticed, equal = damaged(whole, folder, kind, n)
    print(f"{kind}: {noticed} of {n} noticed, {equal} without effect")
    assert noticed + equal == n
    assert noticed > 0.6 * n
