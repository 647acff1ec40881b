"""Balanced WebDataset shards: each pair as often as its copies, for any trainer that reads WebDataset.

The first copies of all pairs come first, then the second ones (key `<key>~2`), and so on, so that copies of one pair
lie far apart. The folder is a data folder of this project too.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from evenclip.data.shard_writer import ShardWriter, write_shards
from evenclip.data.shards import PAIR_COLUMNS, iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.export.base import in_order_of
from evenclip.provenance import Manifest

NEEDS_DATA = True


def export(weights: pa.Table, out: Path, data: Path | None) -> str:
    """Write the folder ``out``."""
    rows = read_rows(data)
    copies = dict(zip(rows, in_order_of(weights, list(rows), "copies").tolist(), strict=True))
    manifest = Manifest("export", {"as": "webdataset"}, {"data": data}, 0)
    with write_shards(out, manifest) as writer:
        for copy in range(1, max(copies.values()) + 1):
            keys = {key for key, n in copies.items() if n >= copy}
            for key, image in iterate_images(data, keys):
                add_pair(writer, rows[key], image, copy)
        n = writer.n
    return f"{out}: {n} pairs; {brace_notation(out)}"


def read_rows(data: Path) -> dict[str, dict[str, Any]]:
    """Rows of a data folder by key, in its order."""
    rows = {row["key"]: row for row in read_pairs(data).to_pylist()}
    if marked := next((key for key in rows if "~" in key), None):
        raise InputError(f"the key '{marked}' contains ~, which marks copies", str(data), "rename the keys")
    return rows


def add_pair(writer: ShardWriter, row: dict[str, Any], image: bytes, copy: int = 1) -> None:
    """Write a pair; the key of the second copy ends in ~2, and so on."""
    key = row["key"] if copy == 1 else f"{row['key']}~{copy}"
    columns = {name: value for name, value in row.items() if name not in PAIR_COLUMNS}
    sizes = {name: row[name] for name in ("width", "height", "sha256")}
    writer.add(key, image, row["captions"], columns, **sizes)


def brace_notation(folder: Path) -> str:
    """The tars of a folder in the notation that WebDataset expands."""
    names = sorted(path.stem for path in folder.glob("*.tar"))
    return str(folder / (f"{names[0]}.tar" if len(names) == 1 else f"{{{names[0]}..{names[-1]}}}.tar"))
