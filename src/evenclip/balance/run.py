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

from evenclip.balance.cells import Cells, RowCoder, count_cells
from evenclip.balance.keys import KeyCheck, hash_strings
from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan, Ranker, weights_batch
from evenclip.balance.report import describe, peak_memory_mb
from evenclip.balance.source import Source, ahead
from evenclip.balance.strategies import weigh
from evenclip.provenance import Manifest, atomic_folder, write_json
from evenclip.records import WEIGHTS_SCHEMA


def balance(labels: Any, out: str | os.PathLike, options: BalanceOptions, seed: int = 0) -> dict[str, Any]:
    """Balance a labels table and write the folder ``out``.

    Parameters
    ----------
    labels : path, folder or sequence of paths
        One labels table, in one file or several with the same columns.
    out : path
        Folder to write; replaced as a whole.
    options : BalanceOptions
    seed : int
        Of the copies' starting points.

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
    source = Source(labels)
    source.require_key()
    manifest = Manifest("balance", options.model_dump(mode="json"), manifest_inputs(source, "labels"), seed)
    cells = count_cells(source, options.utility_bits)
    balanced = weigh(cells, options, seed, source.name)
    with atomic_folder(out) as folder:
        write_weights(source, folder / "weights.parquet", cells, balanced.plan)
        report = {"strategy": options.strategy} | describe(balanced)
        report |= {"seconds": round(time.perf_counter() - started, 3), "peak_memory_mb": round(peak_memory_mb(), 1)}
        write_json(report, folder / "report.json")
        manifest.write(folder / "manifest.json", n=cells.n, n_cells=len(cells))
    return report


def manifest_inputs(source: Source, name: str) -> dict[str, Path]:
    """The manifest's inputs: ``name``, or ``name 0``, ``name 1``, ... where there are several files."""
    if len(source.paths) == 1:
        return {name: source.paths[0]}
    return {f"{name} {i}": path for i, path in enumerate(source.paths)}


def write_weights(source: Source, path: Path, cells: Cells, plan: Plan, seen: np.ndarray | None = None) -> None:
    """Write weights.parquet: one row per row of ``source``, in the same order.

    ``seen``, shape (n_cells,), counts the rows of each cell in the shards before this one.
    """
    check = KeyCheck(source.name)
    with pq.ParquetWriter(path, WEIGHTS_SCHEMA, compression="zstd", use_dictionary=["weight", "copies"]) as writer:
        for keys, hashes, weight, copies in weigh_rows(source, cells, plan, seen):
            check.add(keys, hashes)
            writer.write_batch(weights_batch(keys, weight, copies))
    check.finish(lambda: _keys(source))


def weigh_rows(
    source: Source, cells: Cells, plan: Plan, seen: np.ndarray | None = None
) -> Iterator[tuple[pa.Array | None, np.ndarray | None, np.ndarray, np.ndarray]]:
    """Yield (keys, their hashes, weight, copies) of each batch of rows; keys are None where there are none."""
    coder = RowCoder(cells.columns, cells.utility_bits)
    ranker = Ranker(np.zeros(len(cells), np.int64) if seen is None else seen)
    names = (["key"] if "key" in source.schema.names else []) + list(cells.columns.all)

    def prepare(batch: pa.RecordBatch) -> tuple:
        keys = batch.column("key").cast(pa.string()) if "key" in names else None
        return keys, None if keys is None else hash_strings(keys), cells.find(coder.encode(batch, source.name)[0])

    for keys, hashes, cell in ahead(prepare, source.batches(names)):
        yield keys, hashes, *plan.rows(cell, ranker.rank(cell))


def _keys(source: Source) -> Iterator[pa.Array]:
    for batch in source.batches(["key"]):
        yield batch.column("key").cast(pa.string())
