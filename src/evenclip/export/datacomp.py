"""DataComp's subset file: uids of the pairs to keep, a NumPy array of pairs of unsigned 64-bit integers, sorted.

Keys must be uids: 32 hexadecimal digits. DataComp's resharder keeps a pair as often as its uid occurs, so that a pair
of two copies is there twice.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from evenclip.errors import InputError
from evenclip.provenance import atomic_file

NEEDS_DATA = False
DTYPE = np.dtype("u8,u8")


def export(weights: pa.Table, out: Path, data: Path | None) -> str:
    """Write the file ``out``, whose name ends in `.npy`."""
    if out.suffix != ".npy":
        raise InputError("the name of a subset file must end in .npy", f"--out {out}", f"{out}.npy")
    uids = [_as_integers(key) for key in weights.column("key").to_pylist()]
    subset = np.repeat(np.array(uids, DTYPE), weights.column("copies").to_numpy())
    subset.sort()
    with atomic_file(out) as temporary, temporary.open("wb") as file:
        np.save(file, subset)
    return f"{out}: {len(subset)} uids; python resharder.py --subset-file {out} --input-dir ... --output-dir ..."


def _as_integers(key: str) -> tuple[int, int]:
    try:
        if len(key) != 32:
            raise ValueError(key)
        return int(key[:16], 16), int(key[16:], 16)
    except ValueError:
        raise InputError(f"the key '{key}' is not a uid", "the weights", "use DataComp's uids as keys") from None
