"""One run of one contestant of benchmarks/data.py: prints its time and number of images as JSON.

    python benchmarks/data_contestants.py evenclip|loop|img2dataset IN OUT MAX_PX

Imports are not timed. A contestant imports only what it needs, because each has its own environment.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import time
from itertools import islice
from pathlib import Path


def evenclip(source: Path, out: Path, max_px: int | None):
    from evenclip.data.importing import import_dataset
    from evenclip.data.options import ImportOptions

    options = ImportOptions(captions="captions.tsv", max_px=max_px)
    return lambda: import_dataset(source, out, "all", options)


def loop(source: Path, out: Path, max_px: int | None):
    """Plain code without a library: decode and shrink in threads, write a tar and a table."""
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def shrunk(entry: tuple[str, bytes]) -> tuple[str, bytes, int, int, str]:
        name, content = entry
        image = Image.open(io.BytesIO(content))
        image.load()
        if max_px and min(image.size) > max_px:
            scale = max_px / min(image.size)
            image = image.convert("RGB").resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=95)
            result = buffer.getvalue()
        else:
            result = content
        return name, result, *image.size, hashlib.sha256(content).hexdigest()

    def run() -> None:
        captions, rows = captions_of(source), []
        with (
            tarfile.open(out / "00000.tar", "w") as tar,
            ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        ):
            for name, content, width, height, sha256 in pool.map(shrunk, photos_of(source)):
                key = name.removesuffix(".jpg")
                row = {"key": key, "caption": captions[name], "width": width, "height": height, "sha256": sha256}
                rows.append(row)
                for ending, part in (
                    (".jpg", content), (".txt", captions[name].encode()), (".json", json.dumps(row).encode()),
                ):  # fmt: skip
                    member = tarfile.TarInfo(key + ending)
                    member.size = len(part)
                    tar.addfile(member, io.BytesIO(part))
        pq.write_table(pa.Table.from_pylist(rows), out / "00000.parquet", compression="zstd")

    return run


def img2dataset(source: Path, out: Path, max_px: int | None):
    """Its resizing and writing without its downloads; the rows are those of its `Downloader.download_shard`."""
    import multiprocessing

    import pyarrow as pa
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    text, number = ("caption", "url", "key", "status", "error_message", "sha256"), ("width", "height")
    originals = ("original_width", "original_height")
    schema = pa.schema([*((n, pa.string()) for n in text), *((n, pa.int32()) for n in (*number, *originals))])
    resizer = (
        Resizer(max_px, "keep_ratio", True, downscale_interpolation="area")
        if max_px
        else Resizer(256, "no", False, skip_reencode=True)
    )

    def shard(part: int, n_parts: int) -> None:
        captions = captions_of(source)
        writer = WebDatasetSampleWriter(part, str(out), True, 5, schema, "jpg")
        for position, (name, content) in enumerate(photos_of(source, part, n_parts)):
            stream = io.BytesIO(content)
            image, width, height, full_width, full_height, error = resizer(stream, None)
            key, caption = f"{part:05d}{position:06d}", captions[name]
            stream.seek(0)
            meta = {
                "caption": caption, "url": name, "key": key, "status": "success", "error_message": error,
                "width": width, "height": height, "original_width": full_width, "original_height": full_height,
                "sha256": hashlib.sha256(stream.read()).hexdigest(),
            }  # fmt: skip
            writer.write(image, key, caption, meta)
        writer.close()

    def run() -> None:
        n_parts = len(os.sched_getaffinity(0))
        fork = multiprocessing.get_context("fork")
        processes = [fork.Process(target=shard, args=(part, n_parts)) for part in range(n_parts)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    return run


def photos_of(source: Path, part: int = 0, n_parts: int = 1):
    """Names and bytes of every ``n_parts``-th photo."""
    with tarfile.open(source / "photos.tar") as tar:
        for member in islice(tar, part, None, n_parts):
            yield member.name, tar.extractfile(member).read()


def captions_of(source: Path) -> dict[str, str]:
    with open(source / "captions.tsv", encoding="utf-8", newline="") as file:
        return {row["image"]: row["caption"] for row in csv.DictReader(file, delimiter="\t")}


def main() -> None:
    name, source, out, max_px = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) or None
    shutil.rmtree(out, ignore_errors=True)
    if name != "evenclip":
        out.mkdir()
    run = {"evenclip": evenclip, "loop": loop, "img2dataset": img2dataset}[name](source, out, max_px)
    n = len(captions_of(source))
    start, before = time.perf_counter(), os.times()
    run()
    spent = sum(os.times()[:4]) - sum(before[:4])  # user and system, its child processes' too
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu_seconds": spent, "n": n}))


if __name__ == "__main__":
    main()
