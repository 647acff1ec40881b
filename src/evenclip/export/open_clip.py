"""Sources for open_clip's trainer: shards of the pairs with one copy, with two, ..., and how often to draw each.

With `--dataset-resampled` the trainer draws shards with probability proportional to the factor of their source and
reads each to its end. So a pair is seen as often as its factor says, however many shards a source has.
"""

from pathlib import Path

import pyarrow as pa

from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images
from evenclip.export.base import in_order_of
from evenclip.export.webdataset import add_pair, brace_notation, read_rows
from evenclip.provenance import Manifest, atomic_folder

NEEDS_DATA = True


def export(weights: pa.Table, out: Path, data: Path | None) -> str:
    """Write the folder ``out``: `copies_1/`, `copies_2/`, ..., and the trainer's arguments in `arguments.txt`."""
    rows = read_rows(data)
    keys_by_copies: dict[int, set[str]] = {}
    for key, copies in zip(rows, in_order_of(weights, list(rows), "copies").tolist(), strict=True):
        if copies:
            keys_by_copies.setdefault(copies, set()).add(key)
    sources = []
    with atomic_folder(out) as folder:
        for copies, keys in sorted(keys_by_copies.items()):
            name = f"copies_{copies}"
            with write_shards(folder / name, Manifest("export", {"as": "open_clip"}, {"data": data}, 0)) as writer:
                for key, image in iterate_images(data, keys):
                    add_pair(writer, rows[key], image)
            sources.append(str(out / Path(brace_notation(folder / name)).relative_to(folder)))
        factors = "::".join(map(str, sorted(keys_by_copies)))
        n = sum(copies * len(keys) for copies, keys in keys_by_copies.items())
        arguments = (
            f"--train-data '{'::'.join(sources)}' --train-data-upsampling-factors {factors} "
            f"--train-num-samples {n} --dataset-type webdataset --dataset-resampled"
        )
        (folder / "arguments.txt").write_text(f"{arguments}\n", encoding="utf-8")
    return arguments
