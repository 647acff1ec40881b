"""Import images and captions, in any of the known layouts, into image-text shards.

Reads a folder, a tar or a zip; writes a data folder (`evenclip.data.shards`). Command: `evenclip data import`.
The layout (`evenclip.data.layouts`) says which pairs there are; this module reads and decodes their images.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from evenclip.data.images import MAX_BYTES, BadImage, JpegImage, quiet_decoding, to_jpeg
from evenclip.data.layouts import load_layouts
from evenclip.data.layouts.base import Candidate, Reject
from evenclip.data.options import ImportOptions
from evenclip.data.shard_writer import ShardWriter, write_shards
from evenclip.data.source import Source, UnreadableFile
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.provenance import Manifest
from evenclip.threads import map_in_order

AHEAD = 64  # images in memory that are read, and perhaps decoded, but not yet written


def import_dataset(source: str | os.PathLike, out: str | os.PathLike, split: str, options: ImportOptions) -> None:
    """Write the pairs of ``split`` to the data folder ``out``, and what was left out to its quarantine table.

    An image counts as a duplicate when its bytes equal those of an earlier file; the first is kept. (Several pairs may
    show the same file, as probes do.) The column `sha256` has the digest of the bytes read.

    Raises
    ------
    InputError
        If the source cannot be read, gives no pair, or if more than ``max_quarantined_share`` of its records were
        quarantined. Files that are not images, and images of other splits, do not count as records.
    """
    manifest = Manifest("data", options.model_dump(mode="json") | {"split": split}, inputs={})
    with Source(source) as files, write_shards(Path(out), manifest, options.shard_size) as writer, quiet_decoding():
        layout_split = split if options.test_share is None else "all"
        records = load_layouts()[options.layout].find_pairs(files, layout_split, options)
        _add_all(track(records, f"import {source}"), files, writer, _chosen_by(split, options), options)
        for name, why in files.refused:
            writer.quarantine(name, "stray_name", why)
        _check_quarantine(writer, files.root, options.max_quarantined_share)
        manifest.inputs["source"] = {"path": str(source), "sha256": files.digest}
    counts = Counter(entry["reason"] for entry in writer.quarantined)
    left_out = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))
    print(f"{out}: {writer.n} pairs; quarantined: {left_out or 'none'}", file=sys.stderr)


def _chosen_by(split: str, options: ImportOptions) -> Callable[[str], bool]:
    """Whether an image is of ``split``, by the SHA-256 sum of its bytes: equal images are of one split."""
    if options.test_share is None or split == "all":
        return lambda sha256: True
    if split not in ("train", "test"):
        raise InputError(f"no split '{split}'", "test_share", "the splits are train, test and all")
    return lambda sha256: (int(sha256[:8], 16) < options.test_share * 2**32) == (split == "test")


def _add_all(
    records: Iterable[Candidate | Reject],
    files: Source,
    writer: ShardWriter,
    chosen: Callable[[str], bool],
    options: ImportOptions,
) -> None:
    keys: set[str] = set()
    first_with: dict[str, Candidate] = {}  # by the SHA-256 of an image's bytes
    with_bytes = (
        record for record in (_read(item, files) for item in records) if isinstance(record, Reject) or chosen(record[2])
    )
    decode = partial(_decode, max_px=options.max_px)
    for record in map_in_order(decode, with_bytes, os.cpu_count() or 1, AHEAD):
        if isinstance(record, Reject):
            writer.quarantine(record.name, record.reason, record.detail)
            continue
        candidate, image, sha256 = record
        if candidate.key in keys:
            writer.quarantine(candidate.file.name, "duplicate_key", candidate.key)
        elif (first := first_with.setdefault(sha256, candidate)).file.name != candidate.file.name:
            writer.quarantine(candidate.file.name, "duplicate_image", f"the same bytes as {first.key}")
        else:
            keys.add(candidate.key)
            writer.add(
                candidate.key, image.content, candidate.captions, candidate.columns,
                width=image.width, height=image.height, sha256=sha256,
            )  # fmt: skip


def _read(record: Candidate | Reject, files: Source) -> tuple[Candidate, bytes, str] | Reject:
    """A candidate with its bytes and their SHA-256 sum."""
    if isinstance(record, Reject):
        return record
    if record.content is not None:
        return record, record.content, hashlib.sha256(record.content).hexdigest()
    if record.file.size > MAX_BYTES:
        return Reject(record.file.name, "image_too_large", f"{record.file.size} bytes")
    try:
        return record, *files.read_hashed(record.file)
    except UnreadableFile as error:
        return Reject(record.file.name, "unreadable_image", str(error))


def _decode(
    record: tuple[Candidate, bytes, str] | Reject, max_px: int | None
) -> tuple[Candidate, JpegImage, str] | Reject:
    if isinstance(record, Reject):
        return record
    candidate, content, sha256 = record
    try:
        return candidate, to_jpeg(content, max_px, candidate.box), sha256
    except BadImage as error:
        return Reject(candidate.file.name, error.reason, error.detail)


def _check_quarantine(writer: ShardWriter, root: Path, allowed: float) -> None:
    bad = [entry for entry in writer.quarantined if entry["reason"] != "other_file"]
    n_records = len(bad) + writer.n
    if writer.n and len(bad) <= allowed * n_records:
        return
    counts = ", ".join(f"{reason} {n}" for reason, n in Counter(entry["reason"] for entry in bad).most_common())
    first = {entry["reason"]: entry for entry in reversed(bad)}
    examples = "".join(f"\n  {reason}: {entry['name']} {entry['detail']}".rstrip() for reason, entry in first.items())
    share = f"{len(bad) / max(1, n_records):.1%}, at most {allowed:.1%} are allowed"
    what = f"{len(bad)} of {n_records} records cannot be used ({share}): {counts or 'none was found'}"
    raise InputError(what + examples, str(root), "correct them, or raise max_quarantined_share")
