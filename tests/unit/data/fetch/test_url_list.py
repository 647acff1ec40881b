"""Url lists: the images that can be had become pairs, every dead link is counted under its reason."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evenclip.data.fetch import UrlListOptions, fetch_images
from evenclip.data.fetch import url_list as url_list_module
from evenclip.data.shards import iterate_images, read_manifest, read_pairs, verify_dataset
from evenclip.errors import InputError
from support.hostile_server import HostileServer

QUICK = UrlListOptions(
    attempts=5, backoff_s=0.005, connect_timeout_s=0.5, read_timeout_s=0.3, longest_wait_s=0.05, at_once=8,
    max_image_mb=0.2,
)  # fmt: skip


def photo(seed: int, side: int = 24, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


FILES = {f"{i}.jpg": photo(i) for i in range(12)} | {
    "a.png": photo(50, kind="PNG"), "cut.jpg": photo(51, 200)[:-3000], "large.jpg": photo(52, 700),
    "text.jpg": b"no image",
}  # fmt: skip


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HostileServer(FILES) as running:
        yield running


def written(folder: Path, *rows: str) -> Path:
    path = folder / "list.tsv"
    path.write_bytes(b"".join(row.encode("utf-8", "surrogateescape") + b"\n" for row in rows))
    return path


def only_this_machine(host, port, *arguments, **more):
    if host != "127.0.0.1":
        raise socket.gaierror("no such name")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]


ROT = {
    "honest/0.jpg": None,
    "redirects/1.jpg": None,
    "honest/a.png": None,
    "busy_twice/2.jpg": None,
    "gone/3.jpg": "not_found",
    "secret/3.jpg": "forbidden",
    "teapot/3.jpg": "http_error",
    "loop/3.jpg": "redirects",
    "page/3.jpg": "web_page",
    "always_busy/3.jpg": "busy",
    "says_not_even_hello/3.jpg": "timeout",
    "resets_at_once/3.jpg": "connection",
    "says_longer/3.jpg": "connection",
    "no_ai/3.jpg": "opted_out",
    "honest/cut.jpg": "unreadable_image",
    "honest/text.jpg": "unreadable_image",
    "honest/large.jpg": "image_too_large",
}


def test_the_manifest_counts_lost_links_by_reason(server, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", only_this_machine)
    rows = [f"caption of {path}\t{server.url(path)}" for path in ROT]
    rows += [
        "no address",
        "not UTF-8: \udcff\thttp://127.0.0.1/a.jpg",
        "nonsense\thttp://[broken",
        "local\tfile:///etc/passwd",
        "lost\thttp://far.invalid/a.jpg",
    ]
    links = fetch_images(written(tmp_path, *rows), tmp_path / "out", QUICK)
    reasons = [reason for reason in ROT.values() if reason]
    reasons += ["malformed_row", "malformed_row", "bad_url", "bad_url", "no_such_host"]
    assert links["lost"] == {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    assert (links["expected"], links["obtained"]) == (len(rows), 4)
    manifest = read_manifest(tmp_path / "out")
    assert manifest["links"] == links and manifest["n"] == 4 and manifest["quarantined"] == links["lost"]
    lost = {row["name"]: row["reason"] for row in pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()}
    assert lost[server.url("gone/3.jpg")] == "not_found" and lost["list.tsv:18"] == "malformed_row"
    table = read_pairs(tmp_path / "out").to_pylist()
    assert [row["key"] for row in table] == ["000000000", "000000001", "000000002", "000000003"]
    assert table[1]["caption"] == "caption of redirects/1.jpg" and table[1]["url"] == server.url("redirects/1.jpg")
    assert dict(iterate_images(tmp_path / "out"))["000000000"] == FILES["0.jpg"]
    assert verify_dataset(tmp_path / "out") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.tsv", "out"]


def test_columns_in_another_order_under_a_header(server, tmp_path):
    options = QUICK.model_copy(update={"columns": ["url", "caption", "source"], "max_px": 16})
    rows = [
        "url\tcaption\tsource",
        f"{server.url('honest/0.jpg')}\t a  cat\tweb",
        f"{server.url('honest/1.jpg')}\t\tweb",
    ]
    assert fetch_images(written(tmp_path, *rows), tmp_path / "out", options)["obtained"] == 2
    first, second = read_pairs(tmp_path / "out").to_pylist()
    assert (first["caption"], first["source"], first["width"]) == ("a cat", "web", 16)
    assert second["captions"] == []


def test_shards_do_not_depend_on_speed_or_interruptions(server, tmp_path):
    rows = [f"c{i}\t{server.url(f'honest/{i}.jpg')}" for i in range(10)]
    options = QUICK.model_copy(update={"shard_size": 4})
    url_list = written(tmp_path, *rows)
    fetch_images(url_list, tmp_path / "fast", options)
    fetch_images(url_list, tmp_path / "slow", options.model_copy(update={"at_once": 1, "per_host": 1}))
    fast, slow = (read_manifest(tmp_path / name) for name in ("fast", "slow"))
    assert fast["content"] == slow["content"] and [shard["n"] for shard in fast["shards"]] == [4, 4, 2]
    assert [shard["name"] for shard in fast["shards"]] == ["00000", "00001", "00002"]


def test_a_disk_without_links_gets_copies(server, tmp_path, monkeypatch):
    def no_links(*arguments):
        raise OSError("not supported")

    monkeypatch.setattr("os.link", no_links)
    rows = [f"c{i}\t{server.url(f'honest/{i}.jpg')}" for i in range(3)]
    assert fetch_images(written(tmp_path, *rows), tmp_path / "out", QUICK)["obtained"] == 3
    assert verify_dataset(tmp_path / "out") == 3


def test_shards_without_any_image_leave_no_gap(server, tmp_path):
    rows = [f"c\t{server.url(f'{kind}/0.jpg')}" for kind in ("honest", "honest", "gone", "gone", "honest")]
    fetch_images(written(tmp_path, *rows), tmp_path / "out", QUICK.model_copy(update={"shard_size": 2}))
    assert [shard["name"] for shard in read_manifest(tmp_path / "out")["shards"]] == ["00000", "00001"]
    assert read_pairs(tmp_path / "out").column("key").to_pylist() == ["000000000", "000000001", "000000004"]


@pytest.mark.parametrize("other_list", [False, True])
def test_an_interrupted_fetch_keeps_the_shards_of_this_list(server, tmp_path, monkeypatch, other_list):
    rows = [f"c{i}\t{server.url(f'honest/{i}.jpg')}" for i in range(8)]
    url_list, options = written(tmp_path, *rows), QUICK.model_copy(update={"shard_size": 4})
    fetch_row = url_list_module._fetch_row

    def interrupted(row, *arguments):
        if row.number >= 4:
            raise KeyboardInterrupt
        return fetch_row(row, *arguments)

    monkeypatch.setattr(url_list_module, "_fetch_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_images(url_list, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(url_list_module, "_fetch_row", fetch_row)
    if other_list:
        url_list.write_text(url_list.read_text().replace("c7", "d7"))
    before = len(server.asked)
    assert fetch_images(url_list, tmp_path / "out", options)["obtained"] == 8
    assert len(server.asked) - before == (8 if other_list else 4)


def test_a_killed_fetch_goes_on_after_its_last_shard(server, tmp_path):
    server.files = {f"{i}.jpg": photo(i, 150) for i in range(6)}
    rows = [f"c{i}\t{server.url(f'slow/{i}.jpg')}" for i in range(6)]
    command = [sys.executable, "-m", "evenclip", "data", "fetch-images", str(written(tmp_path, *rows)),
               "--out", str(tmp_path / "out"), "--option", "shard_size=2", "--option", "per_host=1"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    first = tmp_path / ".out.partial/000000000/manifest.json"
    deadline = time.monotonic() + 20
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "out").exists()
    asked = len(server.asked)
    options = UrlListOptions(shard_size=2)
    assert fetch_images(tmp_path / "list.tsv", tmp_path / "out", options)["obtained"] == 6
    assert not {"/slow/0.jpg", "/slow/1.jpg"} & {path for path, _ in server.asked[asked:]}
    assert verify_dataset(tmp_path / "out") == 6 and not (tmp_path / ".out.partial").exists()


@pytest.mark.parametrize(("columns", "message"), [
    (["caption", "link"], "'caption' and 'url'"), (["url", "key", "caption"], "not key"),
])  # fmt: skip
def test_wrong_columns_are_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        fetch_images(written(tmp_path, "a\tb"), tmp_path / "out", QUICK.model_copy(update={"columns": columns}))


def test_a_missing_or_empty_list_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        fetch_images(tmp_path / "none.tsv", tmp_path / "out", QUICK)
    with pytest.raises(InputError, match="no rows"):
        fetch_images(written(tmp_path), tmp_path / "out", QUICK)


def test_the_manifest_is_plain_json_with_the_lists_digest(server, tmp_path):
    url_list = written(tmp_path, f"c\t{server.url('honest/0.jpg')}")
    fetch_images(url_list, tmp_path / "out", QUICK)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["inputs"]["list"]["path"] == str(url_list) and len(manifest["inputs"]["list"]["sha256"]) == 64


@pytest.mark.parametrize("header", ["TEXT\tURL", "\ufeffcaption\turl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_header_names_the_columns(server, tmp_path, header, encoding):
    rows = [header.lstrip("\ufeff") if encoding == "utf-16" else header, f"a b\u2028c\t{server.url('honest/0.jpg')}"]
    (tmp_path / "list.tsv").write_text("\n".join([*rows, ""]), encoding=encoding)
    links = fetch_images(tmp_path / "list.tsv", tmp_path / "out", QUICK)
    assert (links["expected"], links["obtained"]) == (1, 1)
    assert read_pairs(tmp_path / "out")["caption"].to_pylist() == ["a b c"]


def test_a_parquet_list_as_laion_and_datacomp_publish_it(server, tmp_path):
    columns = {
        "uid": ["x", "y"], "URL": [server.url(f"honest/{i}.jpg") for i in range(2)], "TEXT": ["a cat", None],
        "WIDTH": [1, 2], "sha256": ["0", "1"], "similarity": [0.5, None], "face_bboxes": [[], [[0.1]]],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    assert fetch_images(tmp_path / "list.parquet", tmp_path / "out", QUICK)["obtained"] == 2
    first, second = read_pairs(tmp_path / "out").to_pylist()
    assert (first["caption"], first["uid"], first["similarity"], first["width"]) == ("a cat", "x", "0.5", 24)
    assert second["captions"] == [] and first["sha256"] != "0"
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "list.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        fetch_images(tmp_path / "cut.parquet", tmp_path / "out", QUICK)


def test_ampersands_that_html_escapes_are_plain_ones(server, tmp_path):
    fetch_images(written(tmp_path, f"c\t{server.url('honest/0.jpg')}?w=1&amp;h=2"), tmp_path / "out", QUICK)
    assert read_pairs(tmp_path / "out")["url"].to_pylist() == [server.url("honest/0.jpg?w=1&h=2")]


def test_a_list_without_images_is_an_error_and_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match="none of 2 rows gave an image .not_found 2."):
        fetch_images(written(tmp_path, *[f"c\t{server.url('gone/0.jpg')}"] * 2), tmp_path / "out", QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["list.tsv"]
