"""Embedding files (`.npz`): the one writer, and the one reader with every check.

All commands that take embeddings read them here, whoever made the files. Nothing is ever unpickled, and every member is
read to its end, so that zipfile compares its CRC-32 before anything in it is interpreted.
"""

import difflib
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from evenclip.digests import MANIFEST, check_output, read_manifest_file
from evenclip.errors import InputError
from evenclip.provenance import atomic_file, input_digest

REQUIRED = ("key", "image")
NAMES = (*REQUIRED, "text", "text_image", "foil", "logit_scale", "logit_bias")
MAX_NORM_ERROR = 1e-3
"""Largest deviation from length 1 of a vector that `write_embeddings` accepts."""
_PROMPT = re.compile(r"prompt/([^/]+)(/classes)?")
_END = struct.Struct("<4s4H2LH")  # end of central directory record: APPNOTE 4.3.16
_CHUNK_BYTES = 2**20
_BLOCK = 2**22  # numbers checked or normalised at once


@dataclass(frozen=True)
class PromptEmbeddings:
    """Class names of a prompt file, and their vectors in each template, shape (n_templates, n_classes, d)."""

    classes: tuple[str, ...]
    templates: np.ndarray


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of one set, float32, with vectors of any positive length; `unit_rows` normalises them.

    Attributes
    ----------
    where : str
        The files, for messages.
    key : ndarray of str, shape (n,)
        Unique keys of the images.
    image : ndarray, shape (n, d)
    text : ndarray, shape (m, d)
        Captions; m may be 0.
    text_image : ndarray of int64, shape (m,)
        Row of each caption's image.
    foil : ndarray, shape (n, d), optional
        A false caption of each image; a row of NaN = none.
    prompts : dict of str to PromptEmbeddings
        By the name of the prompt file without its suffix.
    logit_scale, logit_bias : float, optional
        Factor and summand of the model's similarities.
    """

    where: str
    key: np.ndarray
    image: np.ndarray
    text: np.ndarray
    text_image: np.ndarray
    foil: np.ndarray | None
    prompts: dict[str, PromptEmbeddings]
    logit_scale: float | None
    logit_bias: float | None

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """The row of each key, shape (len(keys),), int64; -1 where it has no embedding."""
        row = {key: number for number, key in enumerate(self.key.tolist())}
        return np.array([row.get(key, -1) for key in keys], dtype=np.int64)


def write_embeddings(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an embedding file atomically, after the checks of `read_embeddings`.

    Parameters
    ----------
    path : path
        The file.
    arrays : mapping of str to ndarray
        As `read_embeddings` describes them, with vectors of length 1; or those of prompt files alone.

    Raises
    ------
    InputError
        If an array is wrong, for example because the model gives NaN.
    """
    if all(_PROMPT.fullmatch(name) for name in arrays):
        _check_names(arrays, str(path), required=())
        _all_prompts(arrays, None, str(path))
    else:
        _checked(arrays, str(path))
    vectors = [name for name in arrays if name in ("image", "text", "foil") or re.fullmatch(r"prompt/[^/]+", name)]
    for name in vectors:
        if any((np.abs(length - 1) > MAX_NORM_ERROR).any() for _, _, length in _blocks(arrays[name])):
            raise InputError("has a vector that is not of length 1", f"{path}, {name}", "normalise before writing")
    with atomic_file(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_embeddings(*paths: str | os.PathLike, data: str | os.PathLike | None = None) -> Embeddings:
    """Read and check the embeddings of one set.

    Parameters
    ----------
    *paths : path
        One `.npz`, or several with different arrays, e.g. one of images and captions and one of prompts. Together they
        hold `key` (n,) str and `image` (n, d); optionally `text` (m, d) with `text_image` (m,) int, `foil` (n, d;
        a row of NaN = no foil), `logit_scale` () and `logit_bias` (), and for each prompt file `prompt/<stem>`
        (n_templates, n_classes, d) with `prompt/<stem>/classes` (n_classes,) str. Vectors are numbers of any type and
        of any positive length.
    data : path, optional
        The data folder that was embedded. It is compared with the one in the manifest of `evenclip embed`, if there is
        one beside a file: other data may have the same keys.

    Raises
    ------
    InputError
        If a file cannot be read, is damaged or was made from other data; or naming the array that is missing, unknown,
        of a wrong shape or type, not finite, or inconsistent with the others.
    """
    arrays: dict[str, np.ndarray] = {}
    for path in paths:
        if data is not None:
            _check_data(Path(path), data)
        loaded = _load(Path(path))
        if repeated := sorted(arrays.keys() & loaded.keys()):
            raise InputError(f"has '{repeated[0]}', which another file has too", str(path), "give each array once")
        arrays |= loaded
    return _checked(arrays, ", ".join(map(str, paths)))


def _check_data(path: Path, data: str | os.PathLike) -> None:
    manifest = read_manifest_file(path.with_name(MANIFEST)) or {}
    embedded = manifest.get("inputs", {}).get(f"set {path.stem}") if manifest.get("stage") == "embed" else None
    if embedded is not None and embedded["sha256"] != input_digest(data):
        raise InputError(f"these are embeddings of other data than {data}", str(path), "embed this data")


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Divide float32 vectors, shape (..., d), by their lengths in place; embeddings are the largest thing in memory."""
    for _, block, length in _blocks(vectors):
        block /= length
    return vectors


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file by name."""
    arrays: dict[str, np.ndarray] = {}
    check_output(path)
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            _check_count(file, len(archive.infolist()))
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"the array '{name}' occurs twice")
                content = bytearray()
                with archive.open(member) as stream:
                    while chunk := stream.read(_CHUNK_BYTES):  # up to the end, where zipfile compares the CRC
                        content += chunk
                arrays[name] = _array(content)
    except FileNotFoundError:
        raise InputError("no such file", str(path), "make it with `evenclip embed`") from None
    except (
        OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, IndexError, SyntaxError, struct.error,
        tokenize.TokenError, zlib.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        hint = "embed again, or save it with np.savez"
        raise InputError(f"not a readable .npz without pickles ({error})", str(path), hint) from None
    return arrays


def _check_count(file: BinaryIO, n_members: int) -> None:
    """Compare the members listed with their number in the record at the end of a zip; zipfile does not."""
    file.seek(-_END.size, os.SEEK_END)
    signature, *_, n_recorded, _, _, _ = _END.unpack(file.read())
    if signature != b"PK\x05\x06" or n_recorded != n_members:
        raise ValueError("the zip's list of members is damaged")


def _array(content: bytearray) -> np.ndarray:
    """The array of a `.npy` file, which shares its memory; ValueError if it is malformed or holds Python objects."""
    stream = BytesIO(memoryview(content)[:_CHUNK_BYTES])
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("an array holds Python objects")
    size = int(np.prod(shape, dtype=object))
    if min(shape, default=0) < 0 or stream.tell() + size * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for an array of shape {shape} and type {dtype}")
    if size * dtype.itemsize == 0:
        return np.empty(shape, dtype)
    flat = np.frombuffer(content, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _checked(arrays: Mapping[str, np.ndarray], where: str) -> Embeddings:
    """The arrays of one set after all checks; of files that may have been made by anybody."""
    _check_names(arrays, where, REQUIRED)
    key = arrays["key"]
    if key.ndim != 1 or key.dtype.kind != "U" or len(key) == 0:
        raise InputError("key is not a list of strings", f"{where}, key", "save np.array(keys, dtype=str), shape (n,)")
    names, counts = np.unique(key, return_counts=True)
    if counts.max() > 1:
        raise InputError(f"the key '{names[counts.argmax()]}' occurs more than once", f"{where}, key", "embed again")
    image = _vectors(arrays["image"], (len(key), None), f"{where}, image")
    d = image.shape[1]
    text, text_image = np.empty((0, d), np.float32), np.empty(0, np.int64)
    if "text" in arrays and (arrays["text_image"].size or arrays["text"].size):
        text_image = _text_image(arrays["text_image"], len(key), f"{where}, text_image")
        text = _vectors(arrays["text"], (len(text_image), d), f"{where}, text")
    foil = _foil(arrays["foil"], (len(key), d), f"{where}, foil") if "foil" in arrays else None
    scale, bias = (_scalar(arrays, name, where) for name in ("logit_scale", "logit_bias"))
    return Embeddings(where, key, image, text, text_image, foil, _all_prompts(arrays, d, where), scale, bias)


def _check_names(arrays: Mapping[str, np.ndarray], where: str, required: Sequence[str]) -> None:
    partners = {"text": "text_image", "text_image": "text"}
    for name in arrays:
        if match := _PROMPT.fullmatch(name):
            partners[name] = f"prompt/{match[1]}" if match[2] else f"{name}/classes"
    for name in [*required, *(partner for name, partner in partners.items() if name in arrays)]:
        if name not in arrays:
            raise InputError(f"the array '{name}' is missing", where, f"the file has: {', '.join(sorted(arrays))}")
    for name in arrays:
        if name not in NAMES and not _PROMPT.fullmatch(name):
            near = difflib.get_close_matches(name, NAMES, n=1)
            raise InputError(f"unknown array '{name}'", where, f"did you mean '{near[0]}'?" if near else "remove it")


def _vectors(array: np.ndarray, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    """``array`` as float32, itself where it is float32; of ``shape``, None = any positive number."""
    fits = array.ndim == len(shape) and all(
        size == wanted or (wanted is None and size) for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"has shape {array.shape} of {array.dtype}", where, f"should be numbers of shape ({wanted})")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite then, and refused
        array = array.astype(np.float32, copy=False)
    for start, block, length in _blocks(array):
        if not np.isfinite(block).all():
            row = start + int(np.argwhere(~np.isfinite(block))[0][0])
            raise InputError("has NaN or infinite values", f"{where}, row {row}", "embed again; was training stable?")
        wrong = (length == 0) | ~np.isfinite(length)
        if wrong.any():
            row = start + int(np.argwhere(wrong)[0][0])
            what = f"has a vector of length {length[wrong][0]:g}"
            raise InputError(what, f"{where}, row {row}", "embed again, or scale the vectors to length 1")
    return array


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First row, view and lengths, shape (..., 1), of blocks of rows that fit a cache."""
    step = max(1, _BLOCK // max(1, array[:1].size))
    for start in range(0, len(array), step):
        block = array[start : start + step]
        with np.errstate(over="ignore"):
            yield start, block, np.linalg.norm(block, axis=-1, keepdims=True)


def _foil(array: np.ndarray, shape: tuple[int, int], where: str) -> np.ndarray:
    """``array`` with rows of NaN left where an image has no foil."""
    if array.shape != shape or array.dtype.kind != "f":
        return _vectors(array, shape, where)
    is_absent = np.isnan(array).all(axis=1)
    foil = _vectors(np.where(is_absent[:, None], 1, array), shape, where)
    foil[is_absent] = np.nan
    return foil


def _text_image(rows: np.ndarray, n: int, where: str) -> np.ndarray:
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(f"has shape {rows.shape} of {rows.dtype}", where, "should be ints of shape (m,)")
    if len(rows) and (rows.min() < 0 or rows.max() >= n):
        raise InputError(f"names a row outside 0 ... {n - 1}", where, "rows of image count from 0")
    return rows.astype(np.int64)


def _all_prompts(arrays: Mapping[str, np.ndarray], d: int | None, where: str) -> dict[str, PromptEmbeddings]:
    stems = sorted(name.removeprefix("prompt/") for name in arrays if re.fullmatch(r"prompt/[^/]+", name))
    return {stem: _prompts(arrays, stem, d, where) for stem in stems}


def _prompts(arrays: Mapping[str, np.ndarray], stem: str, d: int | None, where: str) -> PromptEmbeddings:
    name = f"prompt/{stem}"
    classes = arrays[f"{name}/classes"]
    if classes.ndim != 1 or classes.dtype.kind != "U" or "" in classes:
        raise InputError("is not a list of non-empty class names", f"{where}, {name}/classes", "name each class")
    if len(set(classes)) < len(classes):
        raise InputError("has a class twice", f"{where}, {name}/classes", "make class names unique")
    templates = _vectors(arrays[name], (None, len(classes), d), f"{where}, {name}")
    return PromptEmbeddings(tuple(map(str, classes)), templates)


def _scalar(arrays: Mapping[str, np.ndarray], name: str, where: str) -> float | None:
    """One finite number, of `logit_scale` a positive one; None where it is not given."""
    if name not in arrays:
        return None
    array = np.asarray(arrays[name])
    is_number = array.size == 1 and array.dtype.kind in "fiu" and bool(np.isfinite(array).all())
    if name == "logit_scale" and not (is_number and array.item() > 0):
        raise InputError("is not one positive number", f"{where}, {name}", "save the factor, not its logarithm")
    if not is_number:
        raise InputError("is not one finite number", f"{where}, {name}", "save the summand, or leave it out")
    return float(array.item())
