"""Weights in the formats of other trainers: one module per consumer, discovered automatically.

A module has ``NEEDS_DATA``, whether it writes images, and ``export(weights, out, data)``, which writes ``out`` and
returns what to do with it, in one line. Reads weights.parquet of `evenclip balance`.
Command: `evenclip export WEIGHTS --as NAME --out PATH [--data DIR]`.

>>> from evenclip.export import copies_of, sampler
"""

import os
from pathlib import Path

from evenclip.errors import InputError
from evenclip.export.base import copies_of, read_weights, sampler
from evenclip.plugins import modules_of, names_of

__all__ = ["copies_of", "export_weights", "sampler"]


def export_weights(
    weights: str | os.PathLike, consumer: str, out: str | os.PathLike, data: str | os.PathLike | None = None
) -> str:
    """Write weights for a consumer.

    Parameters
    ----------
    weights : path
        weights.parquet of `evenclip balance`.
    consumer : str
        Name of a module of this package.
    out : path
        File or folder to write; replaced as a whole.
    data : path, optional
        Data folder of the same pairs, for consumers of images.

    Returns
    -------
    str
        What to do with it, in one line.

    Raises
    ------
    InputError
        The consumer is unknown, or the weights are not those of the data.
    """
    if consumer not in names_of(__name__):
        raise InputError(f"'{consumer}' is unknown", "--as", f"choose of {', '.join(names_of(__name__))}")
    module = modules_of(__name__)[consumer]
    if (data is not None) != module.NEEDS_DATA:
        instead = "give the data folder of the pairs" if module.NEEDS_DATA else "leave it out: no image is written"
        raise InputError(f"'{consumer}' {'needs' if module.NEEDS_DATA else 'takes no'} data", "--data", instead)
    return module.export(read_weights(weights), Path(out), None if data is None else Path(data))
