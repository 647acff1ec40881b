"""A Parquet file for Hugging Face `datasets`: key, weight and copies, to be joined with a data set by its keys."""

from pathlib import Path

import pyarrow as pa

from evenclip.errors import InputError
from evenclip.tables import write_table

NEEDS_DATA = False


def export(weights: pa.Table, out: Path, data: Path | None) -> str:
    """Write the file ``out``, whose name ends in `.parquet`."""
    if out.suffix != ".parquet":
        raise InputError("the name of the file must end in .parquet", f"--out {out}", f"{out}.parquet")
    write_table(weights.select(["key", "weight", "copies"]), out)
    return f'{out}: {len(weights)} rows; load_dataset("parquet", data_files="{out}")'
