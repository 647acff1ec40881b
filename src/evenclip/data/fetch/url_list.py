"""Fetch the images of a url list (`evenclip.data.fetch.url_rows`) into image-text shards.

Command: `evenclip data fetch-images LIST --out FOLDER`. Links rot: every address that gives no image is
listed in the quarantine table with the reason, and the manifest says how many images were expected and obtained.
Finished shards are kept in `.<folder>.partial` until all are finished, so that an interrupted fetch continues there.
"""

import hashlib
import os
import re
import shutil
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import urllib3

from evenclip.data.fetch.http import Client, FetchError, content_length
from evenclip.data.fetch.options import UrlListOptions
from evenclip.data.fetch.url_rows import Row, read_rows
from evenclip.data.images import BadImage, JpegImage, quiet_decoding, to_jpeg
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import PAIR_COLUMNS, read_manifest
from evenclip.digests import fingerprint
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.provenance import Manifest, atomic_folder
from evenclip.tables import QUARANTINE_SCHEMA, read_table, write_table
from evenclip.threads import map_in_order

LONGEST_S = 120.0  # longest time for one image
OPT_OUT = frozenset(("noai", "noimageai", "noindex", "noimageindex"))  # img2dataset respects the same ones


def fetch_image(url: str, client: Client, max_bytes: int, max_px: int | None) -> tuple[JpegImage, str]:
    """The image at ``url`` as JPEG, and the SHA-256 sum of the bytes received; raises `FetchError` if there is none."""
    failures = 0
    while True:
        try:
            content = _get(url, client, max_bytes)
            return to_jpeg(content, max_px), hashlib.sha256(content).hexdigest()
        except BadImage as error:
            raise FetchError(error.reason, error.detail) from None
        except FetchError as error:
            failures += 1
            if not error.transient or failures >= client.options.attempts:
                raise
        client.pause(failures)


def _get(url: str, client: Client, max_bytes: int) -> bytes:
    start = time.monotonic()
    with client.get(url) as response:
        _check_offer(response, max_bytes)
        content = bytearray()
        for chunk in client.body(response):
            content += chunk
            if len(content) > max_bytes:
                raise FetchError("image_too_large", f"more than {max_bytes} bytes")
            if time.monotonic() - start > LONGEST_S:
                raise FetchError("timeout", f"more than {LONGEST_S:g} s")
    return bytes(content)


def _check_offer(response: urllib3.BaseHTTPResponse, max_bytes: int) -> None:
    if opted_out := OPT_OUT & set(re.split(r"[\s,:]+", response.headers.get("X-Robots-Tag", "").lower())):
        raise FetchError("opted_out", f"X-Robots-Tag: {', '.join(sorted(opted_out))}")
    if "html" in response.headers.get("Content-Type", ""):
        raise FetchError("web_page", "answers with a web page")
    if (content_length(response) or 0) > max_bytes:
        raise FetchError("image_too_large", f"{content_length(response)} bytes")


AHEAD = 2048  # images fetched ahead of the one to be written: a slow server must not hold up the others
CONTENT_OPTIONS = ("columns", "max_image_mb", "max_px", "shard_size")  # options that decide what is in a shard


def fetch_images(url_list: str | os.PathLike, out: str | os.PathLike, options: UrlListOptions) -> dict[str, Any]:
    """Fetch the images of ``url_list`` into the data folder ``out``.

    Keys are row numbers, so the order of the list is kept, and a link that works again changes no other pair.

    Returns
    -------
    dict
        Numbers of ``expected`` rows, ``obtained`` pairs and, by reason, ``lost`` ones; the manifest's entry ``links``.

    Raises
    ------
    InputError
        If the list cannot be read, or no row gives an image.
    """
    url_list, out = Path(url_list), Path(out)
    if not url_list.is_file():
        raise InputError("no such file", str(url_list), "give captions and addresses, as TSV or Parquet")
    if not {"caption", "url"} <= set(options.columns) or set(options.columns) & set(PAIR_COLUMNS) != {"caption"}:
        reserved = ", ".join(PAIR_COLUMNS)
        raise InputError("columns must have 'caption' and 'url'", "columns", f"other names, but not {reserved}")
    manifest = Manifest("data", options.model_dump(mode="json"), inputs={"list": url_list})
    partial = out.with_name(f".{out.name}.partial")
    client, n_rows, folders = Client(options), 0, []
    with quiet_decoding():
        rows = read_rows(url_list, options.columns)
        while batch := list(islice(rows, options.shard_size)):
            n_rows += len(batch)
            folders.append(partial / f"{batch[0].number:09d}")
            _fetch_shard(folders[-1], batch, manifest, client, options)
    if not folders:
        raise InputError("the list has no rows", str(url_list), "give captions and addresses, as TSV or Parquet")
    manifests = [read_manifest(folder) for folder in folders]
    if not any(shard["n"] for shard in manifests):
        shutil.rmtree(partial)
        lost = sum((Counter(shard["quarantined"]) for shard in manifests), Counter())
        counts = ", ".join(f"{reason} {n}" for reason, n in sorted(lost.items()))
        instead = "check its columns, and whether the network is available"
        raise InputError(f"none of {n_rows} rows gave an image ({counts})", str(url_list), instead)
    links = _assemble(folders, out, manifest, n_rows)
    shutil.rmtree(partial)
    return links


def _fetch_shard(folder: Path, batch: list[Row], manifest: Manifest, client: Client, options: UrlListOptions) -> None:
    """Fetch the rows of one shard, unless an earlier run has fetched them from the same list."""
    content = {name: value for name, value in manifest.options.items() if name in CONTENT_OPTIONS}
    content |= {"list": manifest.inputs["list"]["sha256"], "rows": [batch[0].number, batch[-1].number]}
    own = Manifest("data", content, inputs={})
    if (folder / "manifest.json").exists() and read_manifest(folder)["fingerprint"] == own.fingerprint:
        return
    title = f"fetch images of rows {batch[0].number}-{batch[-1].number}"
    with write_shards(folder, own, options.shard_size) as writer:
        fetched = map_in_order(
            lambda row: _fetch_row(row, client, options), batch, options.at_once, AHEAD, on_abort=client.stop
        )
        for row, result in zip(batch, track(fetched, title, len(batch)), strict=True):
            if isinstance(result, FetchError):
                writer.quarantine(row.values["url"], result.reason, result.detail)
                continue
            image, sha256 = result
            columns = dict(row.values)
            captions = [caption] if (caption := columns.pop("caption")) else []
            writer.add(
                f"{row.number:09d}", image.content, captions, columns,
                width=image.width, height=image.height, sha256=sha256,
            )  # fmt: skip


def _fetch_row(row: Row, client: Client, options: UrlListOptions) -> tuple[JpegImage, str] | FetchError:
    if row.wrong is not None:
        return FetchError("malformed_row", row.wrong)
    try:
        return fetch_image(row.values["url"], client, int(options.max_image_mb * 1e6), options.max_px)
    except FetchError as error:
        if error.reason == "stopped":
            raise
        return error


def _assemble(folders: list[Path], out: Path, manifest: Manifest, n_rows: int) -> dict[str, Any]:
    """Put the shards of all folders into one data folder, with a quarantine table of everything that was lost."""
    shards: list[dict[str, Any]] = []
    quarantine = [QUARANTINE_SCHEMA.empty_table()]
    with atomic_folder(out) as together:
        for folder in folders:
            quarantine.append(read_table(folder / "quarantine.parquet"))
            for shard in read_manifest(folder)["shards"]:
                name = f"{len(shards):05d}"
                files = {shard["name"] + ending: name + ending for ending in (".tar", ".parquet")}
                for old, new in files.items():
                    _link(folder / old, together / new)
                facts = {fact: {new: shard[fact][old] for old, new in files.items()} for fact in ("bytes", "sha256")}
                shards.append({"name": name, "n": shard["n"], **facts})
        table = pa.concat_tables(quarantine)
        write_table(table, together / "quarantine.parquet")
        n, lost = sum(shard["n"] for shard in shards), dict(sorted(Counter(table.column("reason").to_pylist()).items()))
        links = {"expected": n_rows, "obtained": n, "lost": lost}
        content = fingerprint([shard["sha256"] for shard in shards])
        manifest.write(
            together / "manifest.json", n=n, n_quarantined=table.num_rows, quarantined=lost, links=links, shards=shards,
            content=content,
        )  # fmt: skip
    print(f"{out}: {n} of {n_rows} images; lost: {lost or 'none'}", file=sys.stderr)
    return links


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, so that an interruption loses nothing; copies it if the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
