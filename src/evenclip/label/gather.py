"""Join the labels of all parts of a data folder into those of the whole folder.

Reads the tables that `evenclip label --part 1/8` ... `--part 8/8` wrote, with the manifests beside them; writes what
`evenclip label` writes for all shards at once. `evenclip label-gather DIR --parts 8 --out LABELS.parquet` reads
DIR/1.parquet to DIR/8.parquet.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evenclip.digests import check_digest, manifest_beside
from evenclip.errors import InputError
from evenclip.label.from_captions import N_EXAMPLES
from evenclip.label.run import warn_of_empty
from evenclip.provenance import Manifest, atomic_file, only_writer
from evenclip.tables import parquet_writer, read_table


def gather_labels(parts: Sequence[str | os.PathLike], out: str | os.PathLike) -> int:
    """Write the labels of all parts, one after the other, to ``out``, and the manifest beside it as `.json`.

    Returns
    -------
    int
        Number of pairs.

    Raises
    ------
    InputError
        If these are not all the parts of one data folder, in order, labelled with one lexicon and equal options.
    """
    paths, out, beside = [Path(path) for path in parts], Path(out), manifest_beside(out)
    manifests = [_manifest(path) for path in paths]
    _check(paths, manifests)
    inputs = {f"part {number}": path for number, path in enumerate(paths, start=1)}
    manifest = Manifest("label", manifests[0]["options"], inputs)
    n = sum(part["n"] for part in manifests)
    columns = {name: _join([part["columns"][name] for part in manifests], n) for name in manifests[0]["columns"]}
    with only_writer(out):
        with atomic_file(out) as temporary:
            tables = (read_table(path) for path in paths)
            first = next(tables)
            with parquet_writer(temporary, first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table)
        manifest.write(beside, [out], n=n, columns=columns)
    warn_of_empty(columns)
    return n


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        check_digest(manifest, path.with_suffix(".json"))
    except (OSError, ValueError) as error:
        raise InputError(f"its manifest cannot be read ({error})", str(path), "label this part again") from None
    if "part" not in manifest:
        raise InputError("it is not a part", str(path), "make parts with `evenclip label --part 1/8`, ...")
    return manifest


def _check(paths: list[Path], manifests: list[dict[str, Any]]) -> None:
    expected = [f"{number}/{len(paths)}" for number in range(1, len(paths) + 1)]
    given = [part["part"] for part in manifests]
    if given != expected:
        raise InputError(f"these are the parts {', '.join(given)}", "label-gather", f"give {', '.join(expected)}")
    settings = [
        (part["options"], {name: file["sha256"] for name, file in part["inputs"].items()}) for part in manifests
    ]
    for path, setting in zip(paths, settings, strict=True):
        if setting != settings[0]:
            raise InputError(
                f"data, lexicon or options differ from {paths[0]}",
                str(path),
                "label all parts with the same inputs and options",
            )


def _join(summaries: list[dict[str, Any]], n_pairs: int) -> dict[str, Any]:
    """The summary of a column over all parts."""
    n = sum(summary["n"] for summary in summaries)
    words = sum((Counter(summary["words"]) for summary in summaries), Counter())
    examples = [example for summary in summaries for example in summary["examples"]]
    share = n / n_pairs if n_pairs else 0.0
    return {"n": n, "share": share, "words": dict(words), "examples": examples[:N_EXAMPLES]}
