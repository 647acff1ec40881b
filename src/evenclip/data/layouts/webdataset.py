"""WebDataset tars as img2dataset writes and open_clip reads them.

The members of a pair share their path up to the base name's first dot, the key: `000000012.jpg`, `000000012.txt`,
`000000012.json`. Captions come from the JSON's `captions` (a list), else from `.txt`, else from its `caption`.
The JSON's other plain values become columns. Files outside tars are not read.
"""

import json
from collections.abc import Iterator
from typing import Any

from evenclip.data.layouts.base import Candidate, Description, Recognition, Reject, one_line, short_key
from evenclip.data.options import ImportOptions
from evenclip.data.shards import PAIR_COLUMNS
from evenclip.data.source import IMAGE_ENDINGS, File, Source, UnreadableFile, walk_files
from evenclip.errors import InputError

# what img2dataset notes about its own download, and cannot be a truth about the pair
BOOKKEEPING = frozenset((*PAIR_COLUMNS, "status", "error_message", "exif", "__key__"))
TEXTS = ("txt", "json")
MAX_TEXT_BYTES = 2**20

DESCRIPTION = Description(
    files="tars of img2dataset, and our own",
    splits="folders of tars",
    columns="of the JSON",
)


def recognise(source: Source, captions: str | None = None) -> Recognition | None:
    """Splits of a source with tars whose images have a text or JSON beside them; only the first tar is looked into."""
    if captions:
        return None
    groups = source.groups()
    next(groups)
    members = {file.name.lower() for file in next(groups, []) if file.path.suffix == ".tar"}
    stems = {name.rpartition(".")[0] for name in members if name.endswith(IMAGE_ENDINGS)}
    if not any(f"{stem}.{ending}" in members for stem in stems for ending in TEXTS):
        return None
    tars = (path.relative_to(source.root) for path in walk_files(source.root) if path.suffix == ".tar")
    folders = dict.fromkeys(tar.parent.name for tar in tars)
    return Recognition([] if "" in folders else list(folders))


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the pairs of every tar, one tar in memory at a time; ``split`` names a folder of tars, ``all`` = each."""
    any_tar = False
    for group in source.groups():
        archive = group[0].path if group and group[0].member is not None else None
        if archive is None or (split != "all" and split not in archive.relative_to(source.root).parts[:-1]):
            continue
        any_tar = True
        samples: dict[str, dict[str, File]] = {}
        for file in group:
            folder, slash, base = file.name.rpartition("/")
            stem, _, ending = base.partition(".")
            members = samples.setdefault(folder + slash + stem, {})
            if ending.lower() in members:
                yield Reject(file.name, "duplicate_key", f"twice in {archive.name}")
            members.setdefault(ending.lower(), file)
        for key, members in samples.items():
            yield _pair(source, key, members)
    if not any_tar:
        folder = "" if split == "all" else f" in a folder '{split}'"
        raise InputError(f"no tar{folder}", str(source.root), "give a tar, or a folder of tars")


def _pair(source: Source, key: str, members: dict[str, File]) -> Candidate | Reject:
    image = next((members[ending[1:]] for ending in IMAGE_ENDINGS if ending[1:] in members), None)
    if image is None:
        return Reject(key, "missing_image", f"there is only {', '.join(sorted(members))}")
    large = [members[ending].name for ending in TEXTS if ending in members and members[ending].size > MAX_TEXT_BYTES]
    if large:
        return Reject(image.name, "malformed_row", f"{large[0]} has more than {MAX_TEXT_BYTES} bytes")
    try:
        record = json.loads(source.read(members["json"])) if "json" in members else {}
        text = source.read(members["txt"]).decode() if "txt" in members else ""
    except (ValueError, RecursionError, UnreadableFile) as error:
        return Reject(image.name, "malformed_row", f"text or JSON cannot be read ({error})"[:200])
    if not isinstance(record, dict):
        return Reject(image.name, "malformed_row", "the JSON is not an object")
    captions = _captions(record.get("captions")) or _captions(text) or _captions(record.get("caption"))
    if not captions:
        return Reject(image.name, "missing_caption")
    columns = {
        one_line(name): one_line(str(value))
        for name, value in record.items()
        if name not in BOOKKEEPING and isinstance(value, str | int | float)
    }
    return Candidate(image, short_key(key), captions, columns)


def _captions(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [line for text in values if isinstance(text, str) and (line := one_line(text))]
