"""Scattered balancing: count the cells of each shard, solve for their sum, apply the plan to each shard.

`evenclip balance-count SHARD.parquet --out CELLS.parquet`, `evenclip balance-solve CELLS.parquet... --out DIR` (writes
`plan.parquet`, `report.json`, `manifest.json`), `evenclip balance-apply SHARD.parquet --plan DIR --before
CELLS.parquet ... --out WEIGHTS.parquet`, where --before names the cells of the shards that come first, and `evenclip
balance-gather WEIGHTS.parquet... --plan DIR --out DIR`, which writes the folder that `evenclip balance` writes for all
shards in that order, row for row.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evenclip.balance.options import BalanceOptions
from evenclip.balance.realise import Plan
from evenclip.balance.report import describe
from evenclip.balance.run import manifest_inputs, weights_writer, write_weights
from evenclip.balance.strategies import weigh
from evenclip.balance.table.cells import Cells, add_cells, code_rows, count_cells
from evenclip.balance.table.duplicate_keys import KeyCheck
from evenclip.balance.table.source import Source
from evenclip.digests import check_digest, check_output
from evenclip.errors import InputError
from evenclip.provenance import Manifest, atomic_file, atomic_folder, peak_memory_mb, write_json
from evenclip.tables import WEIGHTS_SCHEMA, as_keys, as_weights, write_table

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
    """Add up cells files, weigh the cells and write the plan for `apply_plan`; return the content of report.json."""
    started = time.perf_counter()
    source = Source(list(cells_files))
    manifest = Manifest("balance", options.model_dump(mode="json"), manifest_inputs(source, "cells"), seed)
    cells = _read_cells(source, options.utility_bits)
    balanced = weigh(cells, options, seed, source.name)
    with atomic_folder(out) as folder:
        table = cells.table().drop_columns("count")
        for name in _PLAN:
            table = table.append_column(f"plan.{name}", pa.array(getattr(balanced.solution.plan, name)))
        write_table(_tagged(table.append_column("count", pa.array(cells.count)), cells), folder / "plan.parquet")
        report = describe(balanced)
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


def gather_weights(
    parts: Sequence[str | os.PathLike], plan: str | os.PathLike, out: str | os.PathLike
) -> dict[str, Any]:
    """Join the weights of all shards, in order; write the folder ``out`` and return the content of report.json.

    Parameters
    ----------
    parts : sequence of paths
        Outputs of `apply_plan` for each shard.
    plan : path
        Folder written by `solve_cells`.

    Raises
    ------
    InputError
        If there are too few or too many rows, or a key occurs in two shards.
    """
    source = Source(list(parts))
    if missing := [name for name in WEIGHTS_SCHEMA.names if name not in source.schema.names]:
        raise InputError(f"column {missing[0]} is missing", source.name, "write it with `evenclip balance-apply`")
    report, planned = (_read_json(Path(plan) / name) for name in ("report.json", "manifest.json"))
    if source.n_rows != report["n"]:
        raise InputError(f"{source.n_rows} rows, the plan is for {report['n']}", source.name, "give every shard once")
    inputs = {"plan": plan} | manifest_inputs(source, "weights")
    manifest = Manifest("balance", planned["options"], inputs, planned["seed"])
    check = KeyCheck(source.name)
    with atomic_folder(out) as folder:
        with weights_writer(folder / "weights.parquet") as writer:
            for batch in source.batches(WEIGHTS_SCHEMA.names):
                key, weight, copies = (batch.column(name) for name in WEIGHTS_SCHEMA.names)
                key = as_keys(key, source.name)
                check.add(key, check.prepare(key))
                weight = as_weights(weight, f"{source.name}, column weight")
                copies = as_weights(copies, f"{source.name}, column copies", whole=True)
                writer.write_batch(pa.record_batch([key, weight, copies], WEIGHTS_SCHEMA.names).cast(WEIGHTS_SCHEMA))
        check.finish(lambda: (as_keys(batch.column("key"), source.name) for batch in source.batches(["key"])))
        write_json(report, folder / "report.json")
        manifest.write(folder / "manifest.json", n=report["n"], n_cells=report["n_cells"])
    return report


def _read_json(path: Path) -> dict[str, Any]:
    try:
        check_output(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        check_digest(document, path)
        return document
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({error})", str(path), "give the folder of `evenclip balance-solve`"
        ) from None


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
