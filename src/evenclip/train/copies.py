"""How often a training shows each pair: the copies in `weights.parquet`, which must be those of the training data.

The table must have a row for every pair of the data, and no other. A pair that is not to be shown has 0 copies. Pairs
that `evenclip label` dropped have no row; how many and which ones the manifest.json beside the table says, as
`evenclip balance` wrote it, and with it the digest of the data that was labelled.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evenclip.digests import MANIFEST, read_manifest_file
from evenclip.errors import InputError
from evenclip.provenance import input_digest
from evenclip.tables import as_keys, as_weights, check_unique_keys, digest_of_keys, read_table


def read_copies(weights: Path, keys: np.ndarray, data: Path) -> np.ndarray:
    """Copies of each pair per nominal epoch.

    Parameters
    ----------
    weights : Path
        `weights.parquet` of `evenclip balance`, or a table of one's own with the columns key and copies.
    keys : numpy.ndarray, shape (n,), str
        All pairs of ``data``, in the order of the result.
    data : Path
        The data folder.

    Returns
    -------
    numpy.ndarray, shape (n,), int64
        0 for pairs that labelling dropped.

    Raises
    ------
    InputError
        Of the first pair that has no weight, or weight that has no pair; or the labels were made from other data.
    """
    table = read_table(weights, ["key", "copies"])
    weighed = as_keys(table["key"], str(weights))
    check_unique_keys(weighed, str(weights))
    copies = as_weights(table["copies"], f"{weights}, column copies", whole=True)
    copies_of = dict(zip(weighed.to_pylist(), copies.to_pylist(), strict=True))
    _check_keys(weights, copies_of.keys(), keys.tolist(), data)
    return np.array([copies_of.get(key, 0) for key in keys.tolist()], np.int64)


def _check_keys(weights: Path, weighed: Any, keys: list[str], data: Path) -> None:
    labelled = (read_manifest_file(weights.with_name(MANIFEST)) or {}).get("labelled", {})
    keys_of_data = set(keys)
    if added := [key for key in weighed if key not in keys_of_data]:
        what = f"{len(added)} of its {len(weighed)} keys are not in {data}, e.g. '{added[0]}'"
        raise InputError(what, str(weights), "balance the labels of this data")
    if "data" in labelled and labelled["data"] != input_digest(data):
        raise InputError(
            f"it was made from labels of other data than {data}", str(weights), "label and balance this data"
        )
    missing = [key for key in keys if key not in weighed]
    n_dropped = labelled.get("n_dropped", 0)
    if not missing and not n_dropped:
        return
    if digest_of_keys(pa.array(missing, pa.string())) != labelled.get("dropped_keys"):
        of_labels = f", and labelling dropped {n_dropped} pairs, not these" if n_dropped else ""
        first = f", e.g. '{missing[0]}'" if missing else ""
        what = f"{len(missing)} of the {len(keys)} pairs of {data} have no weight{first}{of_labels}"
        raise InputError(what, str(weights), "balance labels of all pairs; what is not to be shown has 0 copies")
    print(f"{data}: {len(missing)} of {len(keys)} pairs were dropped by labelling and are not shown", file=sys.stderr)
