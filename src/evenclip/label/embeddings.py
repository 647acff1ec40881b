"""Read what the label stage needs of an `.npz` of `evenclip embed`: keys, images, and captions by image."""

import os
import zipfile
from dataclasses import dataclass

import numpy as np

from evenclip.errors import InputError


@dataclass(frozen=True)
class Embeddings:
    """``key`` (n,) str; ``image`` (n, d) float32; ``text`` (m, d) with ``text_image`` (m,), the row of its image."""

    key: np.ndarray
    image: np.ndarray
    text: np.ndarray
    text_image: np.ndarray

    def rows(self, keys: list[str]) -> np.ndarray:
        """The row of each of ``keys``, shape (len(keys),) int; -1 for those that are not embedded."""
        row = {key: number for number, key in enumerate(self.key.tolist())}
        return np.array([row.get(key, -1) for key in keys], dtype=np.int64)

    def similarity(self) -> np.ndarray:
        """Mean cosine of each image and its captions, shape (n,), in [-1, 1]; NaN where it has none."""
        image, text = _unit(self.image), _unit(self.text)
        cosine = np.einsum("md,md->m", image[self.text_image], text)
        n_captions = np.bincount(self.text_image, minlength=len(self.key))
        total = np.bincount(self.text_image, cosine, minlength=len(self.key))
        return np.divide(total, n_captions, out=np.full(len(self.key), np.nan), where=n_captions > 0)


def read_embeddings(path: str | os.PathLike) -> Embeddings:
    """Read the arrays `key`, `image` and, where there are any, `text` and `text_image`.

    Raises
    ------
    InputError
        If the file is not an .npz, lacks an array, or holds arrays that do not fit each other or are not finite.
    """
    where = str(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("key", "image", "text", "text_image") if name in arrays.files}
    except FileNotFoundError:
        raise InputError("no such file", where, "make it with `evenclip embed`") from None
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"not a readable .npz without pickles ({error})", where, "save it with np.savez") from None
    if missing := {"key", "image"} - set(found):
        raise InputError(f"no array '{min(missing)}'", where, "make it with `evenclip embed`")
    key, image = found["key"], found["image"]
    text = found.get("text", np.empty((0, *image.shape[1:]), np.float32))
    text_image = found.get("text_image", np.empty(0, np.int64))
    if image.ndim != 2 or image.shape[0] != len(key) or text.shape != (len(text_image), image.shape[1]):
        shapes = f"key {key.shape}, image {image.shape}, text {text.shape}, text_image {text_image.shape}"
        raise InputError(f"arrays do not fit: {shapes}", where, "make it with `evenclip embed`")
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise InputError("embeddings are not finite", where, "embed again")
    return Embeddings(key, image.astype(np.float32), text.astype(np.float32), text_image.astype(np.int64))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
