"""Join the labels of all parts of a data folder into those of the whole.

Reads the tables that `evenclip label --part 1/8` ... `--part 8/8` wrote, with the manifests beside them; writes what
`evenclip label` writes for all shards at once. `evenclip label-gather PART.parquet ... --out LABELS.parquet`.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from evenclip.errors import InputError
from evenclip.label.from_captions import N_EXAMPLES
from evenclip.label.run import warn_of_empty
from evenclip.provenance import Manifest, atomic_file
from evenclip.tables import read_table


def gather_labels(parts: Sequence[str | os.PathLike], out: str | os.PathLike) -> int:
    """Write the labels of all ``parts``, one after the other, to ``out`` and the manifest to its ``.json``.

    Returns
    -------
    int
        Number of pairs.

    Raises
    ------
    InputError
        If these are not all the parts of one data folder, in order, labelled with one lexicon and equal options.
    """
    paths, out = [Path(path) for path in parts], Path(out)
    labelled = [_manifest(path) for path in paths]
    _check(paths, labelled)
    inputs = {f"part {number}": path for number, path in enumerate(paths, start=1)}
    manifest = Manifest("label", labelled[0]["options"], inputs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as temporary:
        tables = (read_table(path) for path in paths)
        first = next(tables)
        with pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
    n = sum(each["n"] for each in labelled)
    found = {column: _join([each["columns"][column] for each in labelled], n) for column in labelled[0]["columns"]}
    manifest.write(out.with_suffix(".json"), n=n, columns=found)
    warn_of_empty(found)
    return n


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"no manifest of it ({error})", str(path), "label this part again") from None
    if "part" not in manifest:
        raise InputError("it is not a part", str(path), "make parts with `evenclip label --part 1/8`, ...")
    return manifest


def _check(paths: list[Path], labelled: list[dict[str, Any]]) -> None:
    wanted = [f"{number}/{len(paths)}" for number in range(1, len(paths) + 1)]
    found = [each["part"] for each in labelled]
    if found != wanted:
        raise InputError(f"these are the parts {', '.join(found)}", "label-gather", f"give {', '.join(wanted)}")
    made = [(each["options"], {name: of["sha256"] for name, of in each["inputs"].items()}) for each in labelled]
    for path, each in zip(paths, made, strict=True):
        if each != made[0]:
            raise InputError(f"data, lexicon or options differ from {paths[0]}", str(path), "label all parts alike")


def _join(summaries: list[dict[str, Any]], n_pairs: int) -> dict[str, Any]:
    """What is known of one column, from what is known of it in each part."""
    n = sum(each["n"] for each in summaries)
    words = sum((Counter(each["words"]) for each in summaries), Counter())
    examples = [example for each in summaries for example in each["examples"]]
    share = n / n_pairs if n_pairs else 0.0
    return {"n": n, "share": share, "words": dict(words), "examples": examples[:N_EXAMPLES]}
