"""The balance stage: count the cells of a labels table, weigh them, and write every row its weight.

Reads `LABELS.parquet` twice in batches; writes `DIR/{weights.parquet,report.json,manifest.json}`.
`evenclip balance LABELS.parquet --out DIR [--strategy m4] [--target gender.woman=0.5] ...`
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evenclip.balance.cells import RowCoder, count_cells, open_labels, read_batches
from evenclip.balance.keys import KeyCheck
from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Ranker, weights_table
from evenclip.balance.report import describe, peak_memory_mb
from evenclip.balance.strategies import Balanced, weigh
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_folder, write_json
from evenclip.records import WEIGHTS_SCHEMA


def balance(
    labels: str | os.PathLike, out: str | os.PathLike, options: BalanceOptions, seed: int = 0
) -> dict[str, Any]:
    """Balance a labels table and write the folder ``out``.

    Returns
    -------
    dict
        The content of report.json.

    Raises
    ------
    InputError
        If the table is wrong, or the constraints cannot hold.
    """
    started = time.perf_counter()
    if "key" not in open_labels(labels).schema_arrow.names:
        raise InputError("column key is missing", str(labels), "give every row a unique string `key`")
    manifest = Manifest("balance", options.model_dump(mode="json"), {"labels": labels}, seed)
    cells = count_cells(labels, options.utility_bits)
    balanced = weigh(cells, options, seed, str(labels))
    with atomic_folder(out) as folder:
        write_weights(labels, folder / "weights.parquet", balanced)
        report = {"strategy": options.strategy} | describe(balanced)
        report |= {"seconds": round(time.perf_counter() - started, 3), "peak_memory_mb": round(peak_memory_mb(), 1)}
        write_json(report, folder / "report.json")
        manifest.write(folder / "manifest.json", n=cells.n, n_cells=len(cells))
    return report


def write_weights(labels: str | os.PathLike, path: Path, balanced: Balanced) -> None:
    """Write weights.parquet: one row per row of ``labels``, in the same order."""
    check = KeyCheck(str(labels))
    coder = RowCoder(balanced.cells.columns, balanced.cells.utility_bits)
    ranker = Ranker(np.zeros(len(balanced.cells), np.int64))
    with pq.ParquetWriter(path, WEIGHTS_SCHEMA, compression="zstd", use_dictionary=["weight", "copies"]) as writer:
        for batch in read_batches(labels, ["key", *balanced.cells.columns.all]):
            check.add(batch.column("key"))
            cell = balanced.cells.find(coder.encode(batch, str(labels))[0])
            weight, copies = balanced.plan.rows(cell, ranker.rank(cell))
            writer.write_batch(weights_table(batch.column("key"), weight, copies))
    check.finish(lambda: _keys(labels))


def _keys(labels: str | os.PathLike) -> Iterator[pa.Array]:
    for batch in read_batches(labels, ["key"]):
        yield batch.column("key")
