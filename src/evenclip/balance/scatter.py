"""Balance what one machine cannot hold: count each shard, solve the added-up cells, apply to each shard.

`evenclip balance-count SHARD.parquet --out CELLS.parquet`, `evenclip balance-solve CELLS.parquet... --out DIR` (writes
`plan.parquet`, `report.json`, `manifest.json`) and `evenclip balance-apply SHARD.parquet --plan DIR --before
CELLS.parquet ... --out WEIGHTS.parquet`, where --before names the cells of the shards that come first. The weights
are the very rows that `evenclip balance` writes for all shards in that order; only keys that occur in two shards are
not noticed.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evenclip.balance.cells import Cells, add_cells, code_rows, count_cells
from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan
from evenclip.balance.report import describe, peak_memory_mb
from evenclip.balance.run import manifest_inputs, write_weights
from evenclip.balance.source import Source
from evenclip.balance.strategies import weigh
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_file, atomic_folder, write_json
from evenclip.records import write_table

_BITS = b"utility_bits"
_PLAN = [field.name for field in fields(Plan)]


def count_shard(labels: str | os.PathLike, out: str | os.PathLike, options: BalanceOptions) -> int:
    """Count the cells of one shard into a cells file; return the number of cells."""
    cells = count_cells(Source(labels), options.utility_bits)
    write_table(_tagged(cells.table(), cells), out)
    return len(cells)


def solve_cells(
    cells_files: Sequence[str | os.PathLike], out: str | os.PathLike, options: BalanceOptions, seed: int = 0
) -> dict[str, Any]:
    """Add up cells files, weigh the cells, write the plan for `apply_plan`; return the content of report.json."""
    started = time.perf_counter()
    source = Source(list(cells_files))
    manifest = Manifest("balance", options.model_dump(mode="json"), manifest_inputs(source, "cells"), seed)
    cells = _read_cells(source, options.utility_bits)
    balanced = weigh(cells, options, seed, source.name)
    with atomic_folder(out) as folder:
        table = cells.table().drop_columns("count")
        for name in _PLAN:
            table = table.append_column(f"plan.{name}", pa.array(getattr(balanced.plan, name)))
        pq.write_table(_tagged(table.append_column("count", pa.array(cells.count)), cells), folder / "plan.parquet")
        report = {"strategy": options.strategy} | describe(balanced)
        report |= {"seconds": round(time.perf_counter() - started, 3), "peak_memory_mb": round(peak_memory_mb(), 1)}
        write_json(report, folder / "report.json")
        manifest.write(folder / "manifest.json", n=cells.n, n_cells=len(cells))
    return report


def apply_plan(
    labels: str | os.PathLike, plan: str | os.PathLike, before: Sequence[str | os.PathLike], out: str | os.PathLike
) -> None:
    """Write the weights of one shard.

    Parameters
    ----------
    labels : path
        The shard.
    plan : path
        Folder written by `solve_cells`.
    before : sequence of paths
        Cells files of all shards that come before this one.
    out : path
        weights.parquet of the shard.
    """
    source = Source(labels)
    source.require_key()
    planned = Source(Path(plan) / "plan.parquet")
    bits = _bits(planned)
    cells = _read_cells(planned, bits)
    table = pa.Table.from_batches(planned.batches([f"plan.{name}" for name in _PLAN]))
    arrays = {name: table.column(f"plan.{name}").to_numpy() for name in _PLAN}
    seen = np.zeros(len(cells), np.int64)
    for path in before:
        earlier = _read_cells(Source(path), bits)
        seen[_find(cells, earlier.codes, path)] += earlier.count
    with atomic_file(out) as temporary:
        try:
            rows = (batch for batch, _ in code_rows(source, bits))
            write_weights(source, rows, temporary, cells, Plan(**arrays), seen)
        except KeyError:
            raise _not_counted(labels) from None


def _find(cells: Cells, codes: pa.Array, where: str | os.PathLike) -> np.ndarray:
    try:
        return cells.find(codes)
    except KeyError:
        raise _not_counted(where) from None


def _not_counted(where: str | os.PathLike) -> InputError:
    return InputError("it has rows that were not counted for this plan", str(where), "count all shards, then solve")


def _tagged(table: pa.Table, cells: Cells) -> pa.Table:
    return table.replace_schema_metadata({_BITS: str(cells.utility_bits).encode()})


def _bits(source: Source) -> int:
    return int((source.schema.metadata or {}).get(_BITS, b"8"))


def _read_cells(source: Source, bits: int) -> Cells:
    if "count" not in source.schema.names:
        raise InputError("not a file of cells (no column count)", source.name, "make it with `evenclip balance-count`")
    if _bits(source) != bits:
        raise InputError(
            f"counted with utility_bits {_bits(source)}, not {bits}", source.name, f"use utility_bits={_bits(source)}"
        )
    return add_cells(source, bits)
