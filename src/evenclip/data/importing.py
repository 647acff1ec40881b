"""Import images and captions from the layouts people have them in into image-text shards.

Reads a folder, a tar or a zip; writes a data folder (`evenclip.data.shards`). Command: `evenclip data import`.
Each layout is a module `layout_<name>` whose `find_pairs` says what is there; this module looks at the images.
"""

import hashlib
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from evenclip.data.images import MAX_BYTES, BadImage, JpegImage, quiet_decoding, to_jpeg
from evenclip.data.layouts import aro as layout_aro
from evenclip.data.layouts import celeba as layout_celeba
from evenclip.data.layouts import cifar100 as layout_cifar100
from evenclip.data.layouts import coco as layout_coco
from evenclip.data.layouts import cub200 as layout_cub200
from evenclip.data.layouts import fairface as layout_fairface
from evenclip.data.layouts import flickr8k as layout_flickr8k
from evenclip.data.layouts import folder as layout_folder
from evenclip.data.layouts import imagenet_val as layout_imagenet_val
from evenclip.data.layouts import karpathy as layout_karpathy
from evenclip.data.layouts import miap as layout_miap
from evenclip.data.layouts import oxford_pets as layout_oxford_pets
from evenclip.data.layouts import sugarcrepe as layout_sugarcrepe
from evenclip.data.layouts import valse as layout_valse
from evenclip.data.layouts import visual_genome as layout_visual_genome
from evenclip.data.layouts import vlchecklist as layout_vlchecklist
from evenclip.data.layouts import webdataset as layout_webdataset
from evenclip.data.layouts.base import Candidate, Reject
from evenclip.data.options import ImportOptions
from evenclip.data.shards import ShardWriter, write_shards
from evenclip.data.source import Source, UnreadableFile
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.provenance import Manifest

T = TypeVar("T")
U = TypeVar("U")
AHEAD = 64  # images read before the first of them is written

LAYOUTS = {
    "folder": layout_folder.find_pairs,
    "webdataset": layout_webdataset.find_pairs,
    "flickr8k": layout_flickr8k.find_pairs,
    "coco": layout_coco.find_pairs,
    "karpathy": layout_karpathy.find_pairs,
    "fairface": layout_fairface.find_pairs,
    "celeba": layout_celeba.find_pairs,
    "miap": layout_miap.find_pairs,
    "imagenet_val": layout_imagenet_val.find_pairs,
    "cifar100": layout_cifar100.find_pairs,
    "cub200": layout_cub200.find_pairs,
    "oxford_pets": layout_oxford_pets.find_pairs,
    "sugarcrepe": layout_sugarcrepe.find_pairs,
    "valse": layout_valse.find_pairs,
    "vlchecklist": layout_vlchecklist.find_pairs,
    "aro": layout_aro.find_pairs,
    "visual_genome": layout_visual_genome.find_pairs,
}


def import_dataset(source: str | os.PathLike, out: str | os.PathLike, split: str, options: ImportOptions) -> None:
    """Write the pairs of ``split`` to the data folder ``out``, and what was left out to its quarantine table.

    An image counts as a duplicate when its bytes equal those of an earlier file; the first is kept. (Several pairs may
    show the same file, as probes do.) The column `sha256` is that of the bytes read.

    Raises
    ------
    InputError
        If the source cannot be read, gives no pair, or more of its records than ``max_quarantined_share`` were
        quarantined. Files that are no images, and images of other splits, are no records.
    """
    manifest = Manifest("data", options.model_dump(mode="json") | {"split": split}, inputs={})
    with Source(source) as files, write_shards(Path(out), manifest, options.shard_size) as writer, quiet_decoding():
        found = LAYOUTS[options.layout](files, split, options)
        _add_all(track(found, f"import {source}"), files, writer, options)
        for name, why in files.refused:
            writer.quarantine(name, "stray_name", why)
        _check_quarantine(writer, files.root, options.max_quarantined_share)
        manifest.inputs["source"] = {"path": str(source), "sha256": files.digest}
    counts = Counter(entry["reason"] for entry in writer.quarantined)
    left_out = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))
    print(f"{out}: {writer.n} pairs; quarantined: {left_out or 'none'}", file=sys.stderr)


def _add_all(found: Iterable[Candidate | Reject], files: Source, writer: ShardWriter, options: ImportOptions) -> None:
    keys: set[str] = set()
    first_with: dict[str, Candidate] = {}  # by the SHA-256 of an image's bytes
    read = (_read(item, files) for item in found)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for item in _in_order(pool, partial(_decode, max_px=options.max_px), read):
            if isinstance(item, Reject):
                writer.quarantine(item.name, item.reason, item.detail)
                continue
            found_as, image, sha256 = item
            if found_as.key in keys:
                writer.quarantine(found_as.file.name, "duplicate_key", found_as.key)
            elif (first := first_with.setdefault(sha256, found_as)).file.name != found_as.file.name:
                writer.quarantine(found_as.file.name, "duplicate_image", f"the same bytes as {first.key}")
            else:
                keys.add(found_as.key)
                writer.add(
                    found_as.key, image.content, found_as.captions, found_as.columns,
                    width=image.width, height=image.height, sha256=sha256,
                )  # fmt: skip


def _read(item: Candidate | Reject, files: Source) -> tuple[Candidate, bytes, str] | Reject:
    """A candidate with its bytes and their SHA-256 sum."""
    if isinstance(item, Reject):
        return item
    if item.content is not None:
        return item, item.content, hashlib.sha256(item.content).hexdigest()
    if item.file.size > MAX_BYTES:
        return Reject(item.file.name, "image_too_large", f"{item.file.size} bytes")
    try:
        return item, *files.read_hashed(item.file)
    except UnreadableFile as error:
        return Reject(item.file.name, "unreadable_image", str(error))


def _decode(
    item: tuple[Candidate, bytes, str] | Reject, max_px: int | None
) -> tuple[Candidate, JpegImage, str] | Reject:
    if isinstance(item, Reject):
        return item
    candidate, content, sha256 = item
    try:
        return candidate, to_jpeg(content, max_px, candidate.box), sha256
    except BadImage as error:
        return Reject(candidate.file.name, error.reason, error.detail)


def _in_order(pool: ThreadPoolExecutor, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """``map`` in threads (Pillow works without the interpreter's lock) that holds at most `AHEAD` items in memory."""
    pending: deque[Future[U]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) == AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _check_quarantine(writer: ShardWriter, root: Path, allowed: float) -> None:
    bad = [entry for entry in writer.quarantined if entry["reason"] != "other_file"]
    n_records = len(bad) + writer.n
    if writer.n and len(bad) <= allowed * n_records:
        return
    counts = ", ".join(f"{reason} {n}" for reason, n in Counter(entry["reason"] for entry in bad).most_common())
    first = {entry["reason"]: entry for entry in reversed(bad)}
    examples = "".join(f"\n  {reason}: {entry['name']} {entry['detail']}".rstrip() for reason, entry in first.items())
    share = f"{len(bad) / max(1, n_records):.1%}, allowed are {allowed:.1%}"
    what = f"{len(bad)} of {n_records} records cannot be used ({share}): {counts or 'none was found'}"
    raise InputError(what + examples, str(root), "mend them, or raise max_quarantined_share")
