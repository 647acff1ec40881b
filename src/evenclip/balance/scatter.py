"""Scattered balancing: count the cells of each part of the labels, weigh their sum, write each part's weights.

    evenclip balance-count PART.parquet --out CELLS.parquet         # each part
    evenclip balance-add CELLS_DIR --parts N --out COUNTS           # CELLS_DIR/1.parquet ... N.parquet
    evenclip balance-solve COUNTS --out PLAN
    evenclip balance-apply PART.parquet --number I --counts COUNTS --plan PLAN --out WEIGHTS.parquet    # each part
    evenclip balance-gather WEIGHTS_DIR --parts N --plan PLAN --out DIR

COUNTS has `cells.parquet` (the cells of all parts), `before.parquet` (row group i: the rows of each cell of part i in
the parts before it) and `manifest.json`; PLAN has `plan.parquet`, `report.json` and `manifest.json`; DIR is the folder
that `evenclip balance` writes for all parts in that order, row for row. No job but the two that add up and join reads
more than its own part, so N may be many thousands.
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
from evenclip.tables import (
    PARQUET_ERRORS,
    WEIGHTS_SCHEMA,
    as_keys,
    as_weights,
    open_parquet,
    parquet_writer,
    unreadable_parquet,
    write_table,
)

_BITS, _N_CELLS = b"utility_bits", b"n_cells"
_BEFORE = pa.schema({"cell": pa.int64(), "before": pa.int64()})
_PLAN = [field.name for field in fields(Plan)]


def count_part(labels: str | os.PathLike, out: str | os.PathLike, options: BalanceOptions) -> int:
    """Count the cells of one part into a cells file; return the number of cells."""
    cells = count_cells(Source(labels), options.utility_bits)
    write_table(_tagged(cells.table(), cells), out)
    return len(cells)


def add_counts(cells_files: Sequence[str | os.PathLike], out: str | os.PathLike) -> int:
    """Add up the cells files of all parts, in the parts' order, into the folder ``out``; return the number of cells."""
    source = Source(list(cells_files))
    cells = _read_cells(source, _bits(source))
    manifest = Manifest("balance", {"utility_bits": cells.utility_bits}, manifest_inputs(source, "cells"))
    schema = _BEFORE.with_metadata({_N_CELLS: str(len(cells)).encode()})
    seen = np.zeros(len(cells), np.int64)
    with atomic_folder(out) as folder:
        write_table(_tagged(cells.table(), cells), folder / "cells.parquet")
        with parquet_writer(folder / "before.parquet", schema) as writer:
            for path in source.paths:
                part = _read_cells(Source(path), cells.utility_bits)
                index = cells.find(part.codes)
                writer.write_table(pa.table([index, seen[index]], schema=schema), row_group_size=len(index))
                seen[index] += part.count
        manifest.write(folder / "manifest.json", n=cells.n, n_cells=len(cells))
    return len(cells)


def solve_cells(
    counts: str | os.PathLike, out: str | os.PathLike, options: BalanceOptions, seed: int = 0
) -> dict[str, Any]:
    """Weigh the cells of all parts and write the plan for `apply_plan`; return the content of report.json.

    Parameters
    ----------
    counts : path
        Folder written by `add_counts`.
    out : path
        Folder to write; replaced as a whole.
    options : BalanceOptions
    seed : int
        Of the copies' starting points.
    """
    started = time.perf_counter()
    source = Source(Path(counts) / "cells.parquet")
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
    labels: str | os.PathLike, number: int, counts: str | os.PathLike, plan: str | os.PathLike, out: str | os.PathLike
) -> None:
    """Write the weights of one part.

    Parameters
    ----------
    labels : path
        Labels of the part.
    number : int
        Its number, from 1.
    counts : path
        Folder written by `add_counts`.
    plan : path
        Folder written by `solve_cells` from ``counts``.
    out : path
        weights.parquet of the part.
    """
    source = Source(labels)
    source.require_key()
    planned = Source(Path(plan) / "plan.parquet")
    bits = _bits(planned)
    cells = _read_cells(planned, bits)
    table = pa.Table.from_batches(planned.batches([f"plan.{name}" for name in _PLAN]))
    arrays = {name: table.column(f"plan.{name}").to_numpy() for name in _PLAN}
    seen = _rows_before(Path(counts) / "before.parquet", number, len(cells))
    with atomic_file(out) as temporary:
        try:
            rows = (batch for batch, _ in code_rows(source, bits))
            write_weights(source, rows, temporary, cells, Plan(**arrays), seen)
        except KeyError:
            what = "it has rows that were not counted for this plan"
            raise InputError(what, str(labels), "count all parts, add, then solve") from None


def _rows_before(path: Path, number: int, n_cells: int) -> np.ndarray:
    """Shape (n_cells,) int64: rows of each cell in the parts before part ``number``; 0 where that part has none."""
    file = open_parquet(path)
    if not 1 <= number <= file.num_row_groups:
        raise InputError(f"there is no part {number} of {file.num_row_groups}", str(path), "give a part that was added")
    if int(file.schema_arrow.metadata[_N_CELLS]) != n_cells:
        what = f"it counts other cells than the plan's {n_cells}"
        raise InputError(what, str(path), "give the counts that the plan was made from")
    seen = np.zeros(n_cells, np.int64)
    try:
        part = file.read_row_group(number - 1)
    except PARQUET_ERRORS as error:
        raise unreadable_parquet(error, path) from None
    seen[part.column("cell").to_numpy()] = part.column("before").to_numpy()
    return seen


def gather_weights(
    parts: Sequence[str | os.PathLike], plan: str | os.PathLike, out: str | os.PathLike
) -> dict[str, Any]:
    """Join the weights of all parts, in order; write the folder ``out`` and return the content of report.json.

    Parameters
    ----------
    parts : sequence of paths
        Outputs of `apply_plan` for each part.
    plan : path
        Folder written by `solve_cells`.

    Raises
    ------
    InputError
        If there are too few or too many rows, or a key occurs in two parts.
    """
    source = Source(list(parts))
    if missing := [name for name in WEIGHTS_SCHEMA.names if name not in source.schema.names]:
        raise InputError(f"column {missing[0]} is missing", source.name, "write it with `evenclip balance-apply`")
    report, planned = (_read_json(Path(plan) / name) for name in ("report.json", "manifest.json"))
    if source.n_rows != report["n"]:
        raise InputError(f"{source.n_rows} rows, the plan is for {report['n']}", source.name, "give every part once")
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
