"""NumPy arrays as Arrow's and back, without copies.

`pyarrow.array` and `to_numpy` do the same, but import pandas first, where it is installed: that takes as long as
balancing a million rows.
"""

import numpy as np
import pyarrow as pa


def as_arrow(values: np.ndarray) -> pa.Array:
    """Numbers, shape (n,), as an Arrow array of the same type."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def as_numpy(array: pa.Array) -> np.ndarray:
    """Numbers without nulls as a read-only array, shape (n,), of the same type."""
    return np.from_dlpack(array)
