"""Reading an embedded set: every check on an `.npz` made by anybody, one clear error each.

Reads `results/<study>/embed/<run>/seed<k>/<set>.npz` (never pickles) and `data/<dataset>/<split>/*.parquet`.
"""

import difflib
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from evenclip.data.shards import read_pairs
from evenclip.errors import InputError
from evenclip.evaluate.embedded import EmbeddedSet, PromptClasses

REQUIRED = ("key", "image", "logit_scale")
KNOWN = (*REQUIRED, "logit_bias", "text", "text_image", "foil")
_BLOCK = 2**22  # numbers that are normalised at once
_PROMPT = re.compile(r"prompt/([^/]+)(/classes)?")


def read_embedded_set(dataset: Path, embeddings: list[Path], name: str, columns: list[str]) -> EmbeddedSet:
    """Read and check one set.

    The `.npz`, or several together, hold `key` (n,) str, `image` (n, d), `logit_scale` () and, where the set has them,
    `logit_bias` (), `text` (m, d) with `text_image` (m,) int (m may be 0), `foil` (n, d; rows of NaN = no foil), and
    for each prompt file `prompt/<stem>` (n_templates, n_classes, d) with `prompt/<stem>/classes` (n_classes,) str.
    Vectors need not be normalised. The embedding of a class is the normalised mean of its normalised template
    embeddings (the prompt ensemble of CLIP).

    Parameters
    ----------
    dataset : Path
        Data folder; its pairs may be in another order, and more than the embeddings.
    embeddings : list of Path
        The `.npz` files, e.g. one of images and captions and one of prompts.
    name : str
        Name of the set.
    columns : list of str
        Truth columns to read.

    Raises
    ------
    InputError
        Naming the array, column or key that is wrong.
    """
    where = ", ".join(map(str, embeddings))
    arrays: dict[str, np.ndarray] = {}
    for path in embeddings:
        loaded = _load(path)
        if doubled := sorted(arrays.keys() & loaded.keys()):
            raise InputError(f"has '{doubled[0]}', which another file has too", str(path), "give each array once")
        arrays |= loaded
    _check_names(arrays, where)
    key = arrays["key"]
    if key.ndim != 1 or key.dtype.kind != "U" or len(key) == 0:
        raise InputError("key is not a list of strings", f"{where}, key", "save np.array(keys, dtype=str), shape (n,)")
    names, counts = np.unique(key, return_counts=True)
    if counts.max() > 1:
        raise InputError(f"the key '{names[counts.argmax()]}' occurs more than once", f"{where}, key", "embed again")
    image = _unit(arrays["image"], (len(key), None), where, "image")
    d = image.shape[1]
    text = text_image = foil = None
    if "text" in arrays and arrays["text_image"].size:
        text_image = _text_image(arrays["text_image"], len(key), where)
        text = _unit(arrays["text"], (len(text_image), d), where, "text")
    if "foil" in arrays:
        foil = _foil(arrays["foil"], (len(key), d), where)
    stems = sorted(name.removeprefix("prompt/") for name in arrays if re.fullmatch(r"prompt/[^/]+", name))
    prompts = {stem: _prompt_classes(arrays, stem, d, where) for stem in stems}
    truth, n_missing = _truth(dataset, key.tolist(), columns, where)
    scale = _logit_scale(arrays["logit_scale"], where)
    return EmbeddedSet(name, where, image, text, text_image, foil, prompts, scale, truth, n_missing)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        # opened here, since np.load leaves its own handle open when the file is truncated
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise InputError("no such file", str(path), "make it with `evenclip embed`") from None
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not a readable .npz without pickles ({error})", str(path), "save it with np.savez") from None


def _check_names(arrays: dict[str, np.ndarray], where: str) -> None:
    pairs = [("text", "text_image"), ("text_image", "text")]
    pairs += [(name, f"{name}/classes") for name in arrays if re.fullmatch(r"prompt/[^/]+", name)]
    pairs += [(name, name.removesuffix("/classes")) for name in arrays if re.fullmatch(r"prompt/[^/]+/classes", name)]
    for name in [*REQUIRED, *(other for name, other in pairs if name in arrays)]:
        if name not in arrays:
            raise InputError(f"the array '{name}' is missing", where, f"the file has: {', '.join(sorted(arrays))}")
    for name in arrays:
        if name not in KNOWN and not _PROMPT.fullmatch(name):
            near = difflib.get_close_matches(name, KNOWN, n=1)
            raise InputError(f"unknown array '{name}'", where, f"did you mean '{near[0]}'?" if near else "remove it")


def _unit(array: np.ndarray, shape: tuple[int | None, ...], where: str, name: str) -> np.ndarray:
    """``array`` as float32 with unit rows, itself where it is float32; of ``shape``, None = any positive number."""
    where = f"{where}, {name}"
    fits = array.ndim == len(shape) and all(
        a == b or (b is None and a) for a, b in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"has shape {array.shape} of {array.dtype}", where, f"should be numbers of shape ({wanted})")
    array = array.astype(np.float32, copy=False)
    step = max(1, _BLOCK // max(1, array[0].size))
    for start in range(0, len(array), step):  # in place: embeddings are the largest thing in memory
        part = array[start : start + step]
        length = np.linalg.norm(part, axis=-1, keepdims=True)
        if not np.isfinite(part).all():
            row = start + int(np.argwhere(~np.isfinite(part))[0][0])
            raise InputError("has NaN or infinite values", f"{where}, row {row}", "embed again; was training stable?")
        if (length == 0).any():
            row = start + int(np.argwhere(length == 0)[0][0])
            raise InputError("has a vector of length 0", f"{where}, row {row}", "embed again")
        part /= length
    return array


def _foil(array: np.ndarray, shape: tuple[int, int], where: str) -> np.ndarray:
    """``array`` with unit rows, and rows of NaN left where an image has no foil."""
    if array.shape != shape or array.dtype.kind != "f":
        return _unit(array, shape, where, "foil")
    absent = np.isnan(array).all(axis=1)
    array[absent] = 1
    foil = _unit(array, shape, where, "foil")
    foil[absent] = np.nan
    return foil


def _text_image(rows: np.ndarray, n: int, where: str) -> np.ndarray:
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(
            f"has shape {rows.shape} of {rows.dtype}", f"{where}, text_image", "should be ints of shape (m,)"
        )
    if rows.min() < 0 or rows.max() >= n:
        raise InputError(f"names a row outside 0 ... {n - 1}", f"{where}, text_image", "rows of image count from 0")
    return rows.astype(int)


def _prompt_classes(arrays: dict[str, np.ndarray], stem: str, d: int, where: str) -> PromptClasses:
    name = f"prompt/{stem}"
    classes = arrays[f"{name}/classes"]
    if classes.ndim != 1 or classes.dtype.kind != "U" or "" in classes:
        raise InputError("is not a list of non-empty class names", f"{where}, {name}/classes", "name each class")
    if len(set(classes)) < len(classes):
        raise InputError("has a class twice", f"{where}, {name}/classes", "make class names unique")
    templates = _unit(arrays[name], (None, len(classes), d), where, name)
    ensemble = _unit(templates.mean(axis=0), (len(classes), d), where, f"mean of {name}")
    return PromptClasses(tuple(map(str, classes)), ensemble, templates)


def _logit_scale(scale: np.ndarray, where: str) -> float:
    if scale.size != 1 or scale.dtype.kind not in "fiu" or not np.isfinite(scale).all() or scale.item() <= 0:
        raise InputError("is not one positive number", f"{where}, logit_scale", "save the factor, not its logarithm")
    return float(scale.item())


def _truth(dataset: Path, keys: list[str], columns: list[str], where: str) -> tuple[dict[str, np.ndarray], int]:
    # joined in Python: from Python or NumPy values pyarrow would build arrays only after importing pandas, for a second
    table = read_pairs(dataset, ["key", *columns])
    row = {key: index for index, key in enumerate(table.column("key").to_pylist())}
    strange = [key for key in keys if key not in row]
    if strange:
        what = f"{len(strange)} keys are not in {dataset}, e.g. '{strange[0]}'"
        raise InputError(what, f"{where}, key", "name the data folder that was embedded")
    index = [row[key] for key in keys]
    truth = {}
    for column in columns:
        values = table.column(column).cast(pa.string()).to_pylist()
        truth[column] = np.array([values[i] or "" for i in index], dtype=str)
    return truth, table.num_rows - len(keys)
