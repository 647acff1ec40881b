"""Fetching from a hostile server: the right file or one clear error, and nothing half-written is taken for whole."""

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import filelock
import numpy as np
import pytest
import yaml

from evenclip.cli import main
from evenclip.data.fetch import FetchOptions, fetch_dataset, verify_raw
from evenclip.data.fetch import dataset as dataset_module
from evenclip.data.fetch import download as download_module
from evenclip.data.fetch.checksums import RECORD_FILE, Expected
from evenclip.data.fetch.download import Download
from evenclip.data.fetch.http import Client, Hosts
from evenclip.errors import InputError
from support.hostile_server import HostileServer

CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK = FetchOptions(
    attempts=4, backoff_s=0.005, connect_timeout_s=0.5, read_timeout_s=0.1, longest_wait_s=0.05, keep_free_gb=0
)


def zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.bin", content)
        archive.writestr("images/b.bin", b"")
    return buffer.getvalue()


FILES = {"data.bin": CONTENT, "data.zip": zip_of(CONTENT), "small.bin": b"small"}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HostileServer(FILES) as running:
        yield running


def expected_file(content: bytes, *names: str) -> Expected:
    facts = {
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "md5": hashlib.md5(content).hexdigest()
    }  # fmt: skip
    return Expected(*(facts[name] if name in names else None for name in facts), source="the registry")


def fetch(server: HostileServer, folder: Path, *behaviours: str, name: str = "data.bin", facts=("bytes", "sha256")):
    """Fetch from as many mirrors as there are behaviours; return what is there then, or the error."""
    target = folder / name
    urls = [server.url(f"{behaviour}/{name}") for behaviour in behaviours]
    try:
        _, sha256 = Download(target, expected_file(FILES[name], *facts), Client(QUICK)).fetch(urls)
    except InputError as error:
        assert not target.exists()
        return str(error)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == sha256
    assert sorted(path.name for path in folder.iterdir()) == [name]
    return target.read_bytes()


# behaviour -> what comes of it where size and checksum are known; None = the right file
ENDS = {
    "honest": None,
    "no_etag": None,
    "resets": None,
    "closes_early": None,
    "chunked": None,
    "ignores_ranges": None,
    "no_range_left": None,
    "wrong_range": None,
    "changes": None,
    "wrong_byte_first": None,
    "says_nothing": None,
    "redirects": None,
    "endless_redirect": None,
    "stalls": None,
    "busy_twice": None,
    "resets_at_once": "connection",
    "closes_chunked": "connection",
    "always_partial": "bad_range",
    "wrong_byte": "wrong_bytes",
    "says_longer": "wrong_length",
    "says_shorter": "wrong_length",
    "cut_and_says_nothing": "wrong_bytes",
    "loop": "redirects",
    "ping": "redirects",
    "to_a_file": "bad_url",
    "to_nowhere": "bad_url",
    "page": "web_page",
    "disguised_page": "web_page",
    "says_not_even_hello": "timeout",
    "drips": "timeout",
    "always_busy": "busy",
    "compresses": "encoded",
    "garbage": "connection",
    "gone": "not_found",
    "secret": "forbidden",
    "teapot": "http_error",
}


@pytest.mark.parametrize("behaviour", ENDS)
def test_every_case_ends_in_the_right_file_or_one_clear_error(server, tmp_path, behaviour):
    outcome = fetch(server, tmp_path, behaviour)
    if ENDS[behaviour] is None:
        assert outcome == CONTENT
    else:
        assert f"({ENDS[behaviour]})" in outcome
        assert server.url(behaviour) in outcome and "\n  -> " in outcome
    assert len(server.asked) <= 2 * QUICK.attempts + 2


# where nothing is known but what the server says; a wrong byte of a honest-looking server cannot be noticed then
BLIND_ENDS = ENDS | {
    "says_longer": "connection",
    "says_shorter": "wrong_bytes",
}
del BLIND_ENDS["wrong_byte"], BLIND_ENDS["wrong_byte_first"]


@pytest.mark.parametrize("behaviour", BLIND_ENDS)
def test_truncation_is_noticed_without_size_and_checksum(server, tmp_path, behaviour):
    outcome = fetch(server, tmp_path, behaviour, name="data.zip", facts=())
    if BLIND_ENDS[behaviour] is None:
        assert outcome == FILES["data.zip"]
    else:
        assert f"({BLIND_ENDS[behaviour]})" in outcome


def test_a_stalled_download_is_resumed(server, tmp_path):
    assert fetch(server, tmp_path, "stalls") == CONTENT
    assert [given for _, given in server.asked] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_partial_download_is_kept_when_all_tries_fail(server, tmp_path):
    part = tmp_path / "again/data.bin.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:100_000])
    part.with_name("data.bin.part.json").write_text(json.dumps({"url": "x", "validator": None, "total": None}))
    assert "what has come stays" in fetch(server, tmp_path / "again", "always_busy", "gone")
    assert part.read_bytes() == CONTENT[:100_000]


def test_a_reset_download_is_resumed_not_started_over(server, tmp_path):
    assert fetch(server, tmp_path, "closes_early") == CONTENT
    assert server.asked == [("/closes_early/data.bin", None), ("/closes_early/data.bin", "bytes=150000-")]
    assert server.sent == len(CONTENT)


def test_a_changed_file_starts_over_and_is_not_mixed(server, tmp_path):
    assert fetch(server, tmp_path, "changes", facts=()) == CONTENT
    assert server.asked[1][1] == "bytes=100000-"  # with If-Range, so the answer was the whole new file


def test_without_checksum_and_validator_nothing_is_continued(server, tmp_path):
    assert fetch(server, tmp_path, "no_etag", facts=("bytes",)) == CONTENT
    assert [given for _, given in server.asked] == [None, None]


def test_mirrors_are_tried_in_order_and_the_error_names_all(server, tmp_path):
    assert fetch(server, tmp_path, "gone", "page", "wrong_byte", "honest", "secret") == CONTENT
    assert [path.split("/")[1] for path, _ in server.asked] == ["gone", "page", "wrong_byte", "honest"]
    message = fetch(server, tmp_path / "again", "gone", "loop")
    assert "(not_found)" in message and "(redirects)" in message


def test_with_a_checksum_a_download_resumes_at_another_mirror(server, tmp_path):
    part = tmp_path / "data.bin.part"
    part.write_bytes(CONTENT[:100_000])
    (tmp_path / "data.bin.part.json").write_text(json.dumps({"url": "http://x/", "validator": '"x"', "total": 300_000}))
    assert fetch(server, tmp_path, "honest") == CONTENT
    assert server.asked == [("/honest/data.bin", "bytes=100000-")]


def test_a_part_of_unknown_origin_is_not_used(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:100_000])
    assert fetch(server, tmp_path, "honest") == CONTENT
    assert server.asked == [("/honest/data.bin", None)]


@pytest.mark.parametrize("facts", [("bytes", "sha256"), ()])
def test_death_before_the_check_costs_no_second_download(server, tmp_path, facts):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    (tmp_path / "data.bin.part.json").write_text(json.dumps({"url": "http://x/", "validator": None, "total": 300_000}))
    assert fetch(server, tmp_path, "honest", facts=facts) == CONTENT
    assert server.asked == []


def test_tries_with_progress_do_not_use_up_the_attempts(server, tmp_path, monkeypatch):
    content = CONTENT * 3
    server.files = {"data.bin": content}
    expected = expected_file(content, "bytes", "sha256")
    with pytest.raises(InputError, match="connection"):
        Download(tmp_path / "data.bin", expected, Client(QUICK)).fetch([server.url("resets/data.bin")])
    monkeypatch.setattr(download_module, "PROGRESS", 50_000)
    Download(tmp_path / "data.bin", expected, Client(QUICK)).fetch([server.url("resets/data.bin")])
    assert (tmp_path / "data.bin").read_bytes() == content


def test_md5_alone_is_enough_and_binding(server, tmp_path):
    assert fetch(server, tmp_path, "honest", facts=("md5",)) == CONTENT
    assert "md5" in fetch(server, tmp_path / "wrong", "wrong_byte", facts=("md5",))


def test_two_processes_do_not_write_one_part(server, tmp_path):
    with filelock.FileLock(tmp_path / "data.bin.part.lock"):
        assert "another process" in fetch(server, tmp_path, "honest")
    assert fetch(server, tmp_path, "honest") == CONTENT


def test_a_refused_connection_is_an_input_error(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HostileServer({}) as server:
        url = server.url("honest/data.bin")
    with pytest.raises(InputError, match=r"\(connection\)"):
        Download(tmp_path / "data.bin", expected_file(CONTENT), Client(QUICK)).fetch([url])


# --- data sets of the registry -------------------------------------------------------------------------------------


def registry_of(folder: Path, server: HostileServer, *behaviours: str, **changes) -> Path:
    """A registry with one set `tiny`: `data.zip` from one mirror after another, `small.bin`."""
    content = FILES["data.zip"]
    url, *mirrors = (server.url(f"{behaviour}/data.zip") for behaviour in behaviours)
    entry = {
        "title": "Tiny", "version": "1", "homepage": "https://example.org/tiny", "citation": "Nobody, 2020.",
        "terms": {"licence": "CC0", "summary": "Do as you like."}, "layout": "folder",
        "counts": {"images": {"n": 2, "files": "images/*.bin"}},
        "files": [
            {"path": "data.zip", "url": url, "mirrors": mirrors, "bytes": len(content),
             "sha256": hashlib.sha256(content).hexdigest(), "checksum_from": "the publisher"},
            {"path": "notes/small.bin", "url": server.url("honest/small.bin"), "bytes": "unknown", "sha256": "unknown"},
        ],
    }  # fmt: skip
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"tiny": entry | changes}}))
    return path


def test_a_data_set_is_fetched_recorded_and_not_fetched_twice(server, tmp_path, capsys):
    registry = registry_of(tmp_path, server, "gone", "resets")
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    assert (tmp_path / "raw/data.zip").read_bytes() == FILES["data.zip"]
    recorded = json.loads((tmp_path / "raw" / RECORD_FILE).read_text())["files"]
    assert recorded["notes/small.bin"]["sha256"] == hashlib.sha256(b"small").hexdigest()
    assert recorded["data.zip"]["url"] == server.url("resets/data.zip")
    assert "notes/small.bin: no checksum is known; recorded" in capsys.readouterr().err
    assert "2 files as they must be, 2 images" in verify_raw("tiny", tmp_path / "raw", registry)
    asked = len(server.asked)
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    assert len(server.asked) == asked


def test_later_fetches_must_agree_with_the_first(server, tmp_path):
    registry = registry_of(tmp_path, server, "honest")
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    (tmp_path / "raw/notes/small.bin").unlink()
    server.files = FILES | {"small.bin": b"SMALL"}
    with pytest.raises(InputError, match=rf"(?s)small.bin.*sha256.*but {RECORD_FILE} says") as raised:
        fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    assert "wrong_bytes" in str(raised.value)
    assert not (tmp_path / "raw/notes/small.bin").exists()


def test_a_damaged_file_is_named_and_left_alone(server, tmp_path):
    registry = registry_of(tmp_path, server, "honest")
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    (tmp_path / "raw/data.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match="data.zip is not the right file.*remove it"):
        fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    with pytest.raises(InputError, match="data.zip has bytes 4, but the registry says"):
        verify_raw("tiny", tmp_path / "raw", registry)
    assert (tmp_path / "raw/data.zip").read_bytes() == b"mine"


def test_one_failing_file_does_not_stop_the_others(server, tmp_path):
    registry = registry_of(tmp_path, server, "wrong_byte")
    with pytest.raises(InputError, match=r"tiny: not complete\n.*data.zip: cannot be fetched"):
        fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    assert (tmp_path / "raw/notes/small.bin").read_bytes() == b"small"


def test_terms_are_shown_before_anything_is_fetched(server, tmp_path):
    terms = {"licence": "research only", "summary": "No commercial use.", "accept": True}
    registry = registry_of(tmp_path, server, "honest", terms=terms)
    with pytest.raises(InputError, match="research only. No commercial use.*\n.*--accept-terms"):
        fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    assert server.asked == [] and not (tmp_path / "raw").exists()
    fetch_dataset("tiny", tmp_path / "raw", QUICK, accept_terms=True, registry=registry)


def test_files_behind_a_form_are_asked_for_and_then_checked(server, tmp_path):
    files = [{"path": "faces.zip", "bytes": "unknown", "sha256": "unknown"}]
    registry = registry_of(tmp_path, server, "honest", files=files, by_hand="Fill in the form.")
    with pytest.raises(InputError, match="put faces.zip into .* by hand: Fill in the form"):
        fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    with pytest.raises(InputError, match="faces.zip is missing\n.*Fill in the form"):
        verify_raw("tiny", tmp_path / "raw", registry)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/faces.zip").write_bytes(FILES["data.zip"])
    assert "first seen, now recorded: faces.zip" in verify_raw("tiny", tmp_path / "raw", registry)
    assert "recorded" not in verify_raw("tiny", tmp_path / "raw", registry)
    (tmp_path / "raw/faces.zip").write_bytes(zip_of(b"other"))
    with pytest.raises(InputError, match=f"faces.zip has bytes .* {RECORD_FILE} says"):
        verify_raw("tiny", tmp_path / "raw", registry)


@pytest.mark.parametrize(("count", "message"), [
    ({"n": 3, "files": "images/*.bin"}, "2 images instead of 3"),
    ({"n": 9, "files": "text/*", "lines": True}, "3 images instead of 9"),
])  # fmt: skip
def test_wrong_counts_of_files_are_named(server, tmp_path, count, message):
    registry = registry_of(tmp_path, server, "honest", counts={"images": count, "people": {"n": 5}})
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    (tmp_path / "raw/text").mkdir()
    (tmp_path / "raw/text/a.txt").write_text("one\ntwo\nthree")
    with pytest.raises(InputError, match=message):
        verify_raw("tiny", tmp_path / "raw", registry)


def test_free_disk_space_is_checked_before_fetching(server, tmp_path, monkeypatch):
    registry = registry_of(tmp_path, server, "honest")
    with pytest.raises(InputError, match="GB are still to be fetched, but there is room for 0.0 GB"):
        fetch_dataset("tiny", tmp_path / "raw", QUICK.model_copy(update={"keep_free_gb": 1e9}), registry=registry)
    assert server.asked == []
    monkeypatch.setattr(dataset_module, "_check_room", lambda *arguments: None)  # sizes that only the server tells
    with pytest.raises(InputError, match="small.bin|raw: 0.0 GB"):
        fetch_dataset("tiny", tmp_path / "raw", QUICK.model_copy(update={"keep_free_gb": 1e9}), registry=registry)
    assert not list((tmp_path / "raw").rglob("*.bin"))


def test_a_registry_that_contradicts_the_first_fetch_is_an_error(server, tmp_path):
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry_of(tmp_path, server, "honest"))
    lock = json.loads((tmp_path / "raw" / RECORD_FILE).read_text())
    lock["files"]["data.zip"]["sha256"] = "0" * 64
    (tmp_path / "raw" / RECORD_FILE).write_text(json.dumps(lock))
    with pytest.raises(InputError, match="data.zip: the first fetch had sha256 000.*\n.*new folder"):
        verify_raw("tiny", tmp_path / "raw", tmp_path / "datasets.yaml")
    (tmp_path / "raw" / RECORD_FILE).write_text("{")
    with pytest.raises(InputError, match=f"{RECORD_FILE}: not readable"):
        verify_raw("tiny", tmp_path / "raw", tmp_path / "datasets.yaml")


def test_a_killed_fetch_goes_on_where_it_was(server, tmp_path):
    registry = registry_of(tmp_path, server, "slow")
    part = tmp_path / "raw/data.zip.part"
    command = [sys.executable, "-m", "evenclip", "data", "fetch", "tiny", "--to", str(tmp_path / "raw"),
               "--registry", str(registry)]  # fmt: skip
    process = subprocess.Popen([*command, "--option", "keep_free_gb=0"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 60_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    here = part.stat().st_size
    assert 60_000 < here < len(FILES["data.zip"]) and not (tmp_path / "raw/data.zip").exists()
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    assert (tmp_path / "raw/data.zip").read_bytes() == FILES["data.zip"]
    assert [given for path, given in server.asked if "data.zip" in path] == [None, f"bytes={here}-"]


def test_wrong_input_is_one_message_and_status_2(server, tmp_path, monkeypatch, capsys):
    command = ["evenclip", "data", "fetch", "tiny", "--to", str(tmp_path), "--option", "attempts=1"]
    monkeypatch.setattr(sys, "argv", [*command, "--registry", str(registry_of(tmp_path, server, "page"))])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "answers with a web page instead of the file" in capsys.readouterr().err


def test_verify_on_the_command_line_tells_raw_files_from_shards(server, tmp_path, monkeypatch, capsys):
    registry = str(registry_of(tmp_path, server, "honest"))
    fetch_dataset("tiny", tmp_path / "raw", QUICK, registry=registry)
    command = ["evenclip", "data", "verify", "tiny", "--root", str(tmp_path / "raw"), "--registry", registry]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "2 files as they must be, 2 images" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["evenclip", "data", "verify", str(tmp_path / "raw")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "not a data folder" in capsys.readouterr().err


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url(""))
    Download(tmp_path / "data.bin", expected_file(CONTENT, "sha256"), Client(QUICK)).fetch(
        ["http://far.invalid/resets/data.bin"]
    )
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    monkeypatch.setenv("no_proxy", "far.invalid,127.0.0.1")
    monkeypatch.setattr("socket.getaddrinfo", no_names)
    with pytest.raises(InputError, match="no_such_host"):
        Download(tmp_path / "again.bin", expected_file(CONTENT), Client(QUICK)).fetch(
            ["http://far.invalid/honest/data.bin"]
        )


def no_names(*arguments, **more):
    raise socket.gaierror("no such name")


# --- politeness ----------------------------------------------------------------------------------------------------


def test_concurrent_requests_to_one_host_are_limited(server):
    client = Client(QUICK.model_copy(update={"per_host": 2, "read_timeout_s": 2.0}))
    server.files = {f"{i}.bin": bytes(100_000) for i in range(6)}

    def ask(i: int) -> None:
        with client.get(server.url(f"slow/{i}.bin")) as response:
            assert sum(map(len, client.body(response))) == 100_000

    threads = [threading.Thread(target=ask, args=[i]) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.busiest == 2 and len(server.asked) == 6


def test_requests_to_one_host_are_spaced_and_others_do_not_wait():
    hosts = Hosts(at_once=4, delay_s=0.05)
    start = time.monotonic()
    for _ in range(3):
        with hosts.turn("http://a.org/x"):
            pass
    assert 0.1 <= time.monotonic() - start < 0.2
    with hosts.turn("https://user:secret@b.org/x"):
        assert time.monotonic() - start < 0.2
    hosts.hold("http://A.org/y", 0.1)
    held = time.monotonic()
    with hosts.turn("http://a.org/x"):
        assert time.monotonic() - held >= 0.1
