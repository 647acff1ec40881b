"""Import images and captions from the layouts people have them in into image-text shards.

Reads a folder, a tar or a zip; writes a data folder (`evenclip.data.shards`). Command: `evenclip data import`.
Each layout is a module `layout_<name>` whose `find_pairs` says what is there; this module looks at the images.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from evenclip.data import layout_flickr8k, layout_folder, layout_webdataset
from evenclip.data.candidates import Candidate, Reject
from evenclip.data.images import MAX_BYTES, BadImage, quiet_decoding, to_jpeg
from evenclip.data.options import ImportOptions
from evenclip.data.shards import ShardWriter, write_shards
from evenclip.data.source import Source, UnreadableFile
from evenclip.errors import InputError
from evenclip.progress import track
from evenclip.provenance import Manifest

LAYOUTS = {
    "folder": layout_folder.find_pairs,
    "flickr8k": layout_flickr8k.find_pairs,
    "webdataset": layout_webdataset.find_pairs,
}


def import_dataset(source: str | os.PathLike, out: str | os.PathLike, split: str, options: ImportOptions) -> None:
    """Write the pairs of ``split`` to the data folder ``out``, and what was left out to its quarantine table.

    An image counts as a duplicate when its bytes equal an earlier one's; the first is kept. The column `sha256` is that
    of the bytes read.

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


def _add_all(found: Iterable[Candidate | Reject], files: Source, writer: ShardWriter, options: ImportOptions) -> None:
    keys: set[str] = set()
    first_with: dict[bytes, str] = {}  # digest of an image's bytes -> its key
    for item in found:
        if isinstance(item, Reject):
            writer.quarantine(item.name, item.reason, item.detail)
            continue
        name = item.file.name
        if item.key in keys:
            writer.quarantine(name, "duplicate_key", item.key)
            continue
        if item.file.size > MAX_BYTES:
            writer.quarantine(name, "image_too_large", f"{item.file.size} bytes")
            continue
        try:
            content = files.read(item.file)
            digest = hashlib.sha256(content)
            if first := first_with.get(digest.digest()):
                writer.quarantine(name, "duplicate_image", f"the same bytes as {first}")
                continue
            image = to_jpeg(content, options.max_px)
        except UnreadableFile as error:
            writer.quarantine(name, "unreadable_image", str(error))
        except BadImage as error:
            writer.quarantine(name, error.reason, error.detail)
        else:
            keys.add(item.key)
            first_with[digest.digest()] = item.key
            writer.add(
                item.key, image.content, item.captions, item.columns,
                width=image.width, height=image.height, sha256=digest.hexdigest(),
            )  # fmt: skip


def _check_quarantine(writer: ShardWriter, root: Path, allowed: float) -> None:
    bad = [entry for entry in writer.quarantined if entry["reason"] != "other_file"]
    share = len(bad) / max(1, len(bad) + writer.n)
    if writer.n and share <= allowed:
        return
    counts = ", ".join(f"{reason} {n}" for reason, n in Counter(entry["reason"] for entry in bad).most_common())
    examples = {
        entry["reason"]: f"{entry['name']} ({entry['reason']}: {entry['detail'] or 'no more is known'})"
        for entry in reversed(bad)
    }
    what = (
        f"{len(bad)} of {len(bad) + writer.n} records cannot be used ({share:.1%}, allowed are {allowed:.1%}): {counts}"
    )
    shown = "; ".join(examples.values())
    raise InputError(f"{what}. First of each: {shown}", str(root), "mend them, or raise max_quarantined_share")
