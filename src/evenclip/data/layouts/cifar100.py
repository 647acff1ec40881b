"""CIFAR-100, Python version: pickles `train`, `test` and `meta`; 3072 bytes in a row are a 32 x 32 image by channels.

Pickles can run programs when they are read: only arrays, and what they are made of, are allowed in these. Columns:
class and superclass, in words.
"""

import codecs
import io
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy._core import multiarray
from PIL import Image

from evenclip.data.layouts.base import Candidate, Description, Reject
from evenclip.data.options import ImportOptions
from evenclip.data.source import File, Source
from evenclip.errors import InputError

SPLITS = ("train", "test")
N_BYTES = 3 * 32 * 32
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # how protocol 2 writes bytes
}

DESCRIPTION = Description(
    files="`cifar-100-python.tar.gz`, its pickles read without running anything",
    splits="train, test",
    columns="class, superclass",
    signature=r"cifar-100-python/(?P<split>train|test)",
)


def find_pairs(source: Source, split: str, options: ImportOptions) -> Iterator[Candidate | Reject]:
    """Yield the images of ``split`` (train or test; ``all`` = both), in the pickle's order."""
    if split not in (*SPLITS, "all"):
        raise InputError(f"no split '{split}'", "layout cifar100", "train, test or all")
    files = {file.base: file for file in source.files()}
    meta = _read(source, files, "meta", "fine_label_names", "coarse_label_names")
    names, super_names = ([name.decode().replace("_", " ") for name in labels] for labels in meta)
    for part in SPLITS if split == "all" else (split,):
        pixels, fine, coarse = _read(source, files, part, "data", "fine_labels", "coarse_labels")
        for number, (row, label, super_label) in enumerate(zip(pixels, fine, coarse, strict=True)):
            key = f"{part}_{number:05d}"
            if not (0 <= label < len(names) and 0 <= super_label < len(super_names) and len(row) == N_BYTES):
                yield Reject(key, "malformed_row", f"{len(row)} bytes, classes {label} and {super_label}")
                continue
            columns = {"class": names[label], "superclass": super_names[super_label]}
            file = File(f"{files[part].name}/{number:05d}.png", row.nbytes, files[part].path)
            yield Candidate(file, key, [], columns, content=_png(row))


def _png(row: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _read(source: Source, files: dict[str, File], name: str, *members: str) -> list[Any]:
    """The named members of a pickle."""
    if name not in files:
        raise InputError(f"the file '{name}' is missing", str(source.root), "give cifar-100-python.tar.gz")
    try:
        content = _Arrays(io.BytesIO(source.read(files[name])), encoding="bytes").load()
        return [content[member.encode()] for member in members]
    except Exception as error:  # unpickling raises nearly anything on broken or hostile bytes
        raise InputError(
            f"not CIFAR-100 ({type(error).__name__}: {error})", files[name].name, "fetch it again"
        ) from None


class _Arrays(pickle.Unpickler):
    """Reads pickles that hold arrays and plain values, nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return ALLOWED[module, name]
