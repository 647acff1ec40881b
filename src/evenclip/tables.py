"""The tables that stages hand to each other: names, types, and the checks made when one is read.

`architecture.md` section 4 is the contract. All tables are Parquet, read and written through pyarrow.
"""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evenclip.errors import InputError

LABEL_PREFIXES = ("sensitive.", "target.", "proxy.")

WEIGHTS_SCHEMA = pa.schema([("key", pa.string()), ("weight", pa.float32()), ("copies", pa.uint8())])

QUARANTINE_SCHEMA = pa.schema([("name", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@dataclass(frozen=True)
class MetricRow:
    """One measured value; a metric's name follows architecture.md section 4 (flat, no '@').

    ``n`` is the number of examples behind ``value``; ``group`` names the subgroup it is for, '' for all;
    ``random`` is what a model that knows nothing scores, None where that has no meaning; ``people`` says whether the
    metric is about people.
    """

    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    group: str = ""
    random: float | None = None
    people: bool = False

    def as_dict(self) -> dict:
        """The row for JSON: no NaN, which JSON has no word for."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def read_table(path: str | os.PathLike, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file; `InputError` if it is missing, truncated or lacks a column."""
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError("no such file", str(path), "check the path") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"not a readable Parquet file ({error})", str(path), "write it again") from None
    missing = [c for c in columns or [] if c not in file.schema_arrow.names]
    if missing:
        have = ", ".join(file.schema_arrow.names)
        raise InputError(f"column {', '.join(missing)} is missing", str(path), f"the file has: {have}")
    try:
        return file.read(columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"not a readable Parquet file ({error})", str(path), "write it again") from None


def check_unique_keys(keys: pa.ChunkedArray, where: str) -> None:
    """Raise `InputError` naming the first duplicated or missing key."""
    if keys.null_count:
        raise InputError(f"{keys.null_count} keys are null", f"{where}, column key", "give every row a key")
    if pc.count_distinct(keys).as_py() != len(keys):
        counts = keys.value_counts()
        first = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        raise InputError(f"the key '{first}' occurs more than once", f"{where}, column key", "make keys unique")


def write_table(table: pa.Table, path: str | os.PathLike) -> None:
    """Write Parquet whole or not at all (a temporary file beside it, then a rename)."""
    from evenclip.provenance import atomic_file

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
