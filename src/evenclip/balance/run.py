"""The balance stage: count the cells of a labels table, weigh them, and write every row its weight.

Reads `LABELS.parquet` in batches, first the labels and then the keys; writes
`DIR/{weights.parquet,report.json,manifest.json}`.
`evenclip balance LABELS.parquet --out DIR [--strategy m4] [--target gender.woman=0.5] ...`
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan, ranks, weights_batch
from evenclip.balance.report import describe
from evenclip.balance.strategies import weigh
from evenclip.balance.table.cells import Cells, count_cells
from evenclip.balance.table.coding import CodedBatch, CodedRows
from evenclip.balance.table.duplicate_keys import KeyCheck
from evenclip.balance.table.source import Source, ahead
from evenclip.digests import read_manifest_file
from evenclip.provenance import Manifest, atomic_folder, peak_memory_mb, write_json
from evenclip.tables import WEIGHTS_SCHEMA, parquet_writer

if TYPE_CHECKING:
    from evenclip.balance.frontier import FrontierGrid

MOST_TOGETHER = 64
"""Batches whose cells are looked up at once; it bounds the memory."""


def balance(
    labels: Any, out: str | os.PathLike, options: BalanceOptions, seed: int = 0, grid: "FrontierGrid | None" = None
) -> dict[str, Any]:
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
    grid : FrontierGrid, optional
        Settings to compare the chosen ones with; see `evenclip.balance.frontier`.

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
    with CodedRows() as rows:
        cells = count_cells(source, options.utility_bits, rows)
        balanced = weigh(cells, options, seed, source.name)
        with atomic_folder(out) as folder:
            write_weights(source, rows, folder / "weights.parquet", cells, balanced.solution.plan)
            report = describe(balanced)
            report |= {"seconds": round(time.perf_counter() - started, 3), "peak_memory_mb": round(peak_memory_mb(), 1)}
            write_json(report, folder / "report.json")
            if grid is not None:
                from evenclip.balance.frontier import frontier, write_frontier

                write_frontier(frontier(balanced, grid), folder)
            manifest.write(folder / "manifest.json", n=cells.n, n_cells=len(cells), **labelled_pairs(source))
    return report


def labelled_pairs(source: Source) -> dict[str, Any]:
    """The entry "labelled" of the manifest: which data was labelled, and which of its pairs labelling dropped.

    Empty if the table is not one that `evenclip label` wrote. A training compares its own data with this entry.
    """
    manifests = [read_manifest_file(path.with_suffix(".json")) or {} for path in source.paths]
    if len(manifests) != 1 or manifests[0].get("stage") != "label" or "data" not in manifests[0].get("inputs", {}):
        return {}
    dropped = {name: manifests[0][name] for name in ("n_dropped", "dropped_keys") if name in manifests[0]}
    return {"labelled": {"data": manifests[0]["inputs"]["data"]["sha256"], **dropped}}


def manifest_inputs(source: Source, name: str) -> dict[str, Path]:
    """The manifest's inputs: ``name``, or ``name 0``, ``name 1``, ... where there are several files."""
    if len(source.paths) == 1:
        return {name: source.paths[0]}
    return {f"{name} {i}": path for i, path in enumerate(source.paths)}


def write_weights(
    source: Source, rows: Iterable[CodedBatch], path: Path, cells: Cells, plan: Plan, seen: np.ndarray | None = None
) -> None:
    """Write weights.parquet: one row per row of ``source``, in the same order; ``rows`` are its coded batches.

    ``seen``, shape (n_cells,), counts the rows of each cell in the shards before this one.
    """
    check = KeyCheck(source.name)

    def prepare(batch: tuple[pa.Array, _PlannedBatch]) -> tuple[pa.Array, np.ndarray | None, pa.RecordBatch]:
        keys, planned = batch
        return keys, check.prepare(keys), weights_batch(keys, *planned.weigh(plan))

    with weights_writer(path) as writer:
        for keys, hashes, batch in ahead(prepare, zip(_keys(source), _planned(rows, cells, seen), strict=True)):
            check.add(keys, hashes)
            writer.write_batch(batch)
    check.finish(lambda: _keys(source))


def weights_writer(path: Path) -> pq.ParquetWriter:
    """A writer of weights.parquet."""
    return parquet_writer(path, WEIGHTS_SCHEMA, use_dictionary=["weight", "copies"])


def weigh_rows(rows: Iterable[CodedBatch], cells: Cells, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Weight (float32) and copies (uint8) of all rows."""
    parts = ahead(lambda batch: batch.weigh(plan), _planned(rows, cells, None))
    weight, copies = zip(*parts, strict=True)
    return np.concatenate(weight), np.concatenate(copies)


@dataclass(frozen=True)
class _PlannedBatch:
    """A batch with, for each of its distinct codes, the cell, the rows in the batch, and the rows before it."""

    index: np.ndarray
    cell: np.ndarray
    count: np.ndarray
    seen: np.ndarray

    def weigh(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        return plan.rows(self.cell[self.index], ranks(self.index, self.count, self.seen))


def _planned(rows: Iterable[CodedBatch], cells: Cells, seen: np.ndarray | None) -> Iterator[_PlannedBatch]:
    seen = np.zeros(len(cells), np.int64) if seen is None else seen.copy()
    for batches in _together(rows, len(cells)):
        found = cells.find(pa.concat_arrays([batch.codes for batch in batches]))
        ends = np.cumsum([len(batch.codes) for batch in batches])
        for batch, cell in zip(batches, np.split(found, ends[:-1]), strict=True):
            count = batch.total()
            yield _PlannedBatch(batch.index, cell, count, seen[cell])
            seen[cell] += count


def _together(rows: Iterable[CodedBatch], n_cells: int) -> Iterator[list[CodedBatch]]:
    """Batches whose codes are looked up at once, about as many as there are cells: a look-up may hash all cells."""
    held: list[CodedBatch] = []
    for batch in rows:
        held.append(batch)
        if len(held) == MOST_TOGETHER or sum(len(one.codes) for one in held) >= n_cells:
            yield held
            held = []
    if held:
        yield held


def _keys(source: Source) -> Iterator[pa.Array]:
    for batch in source.batches(["key"]):
        yield batch.column("key").cast(pa.string())
