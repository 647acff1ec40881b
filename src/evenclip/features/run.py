"""Compute trunk features with progress that survives an interruption."""

import itertools
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from evenclip.code_fingerprint import code_fingerprint
from evenclip.data.shards import iterate_images, locate_images, read_pairs
from evenclip.digests import fingerprint
from evenclip.features.encoder import TrunkEncoder
from evenclip.features.options import FeatureOptions
from evenclip.model.clip import load_clip
from evenclip.model.identity import model_files, model_identity
from evenclip.progress import track
from evenclip.prompts import read_prompts
from evenclip.provenance import Manifest, atomic_folder, write_json
from evenclip.tables import write_table

SAVED_EVERY = 16
"""Batches between two records of how far the work is."""


def compute_features(
    model: str, data: Path, out: Path, options: FeatureOptions, prompts: list[Path], state: Path = Path(".state")
) -> None:
    """Compute the trunk features of a data folder's images, captions and foils, and of prompt files' texts.

    Parameters
    ----------
    model : str
        As `evenclip.model.clip.load_clip` takes it; both towers must have a projection.
    data : Path
        Folder of image-text shards.
    out : Path
        Folder of the features; replaced as a whole.
    options : FeatureOptions
    prompts : list of Path
        Prompt files whose texts are computed too.
    state : Path
        Folder of interrupted computations: the same command continues.

    Raises
    ------
    InputError
        A model, data folder or prompt file that cannot be read, a damaged image, or a tower without a projection.
    """
    inputs = {"data": data} | {f"prompts {path}": path for path in prompts} | model_files(model)
    texts = sorted({*_texts_of(data), *(text for path in prompts for text in _prompt_texts(path))})
    manifest = Manifest("features", {"model": model, **options.model_dump(mode="json")}, inputs)
    identity = model_identity(model)
    version = [identity, options.dtype, options.batch_size, code_fingerprint("evenclip.features.run")]
    folder = state / fingerprint({"features": version, "data": manifest.inputs["data"]["sha256"], "texts": texts})
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        trunks = TrunkEncoder(load_clip(model), options)
        keys = [location.key for location in locate_images(data)]
        image = _Rows(folder / "image", len(keys), options.dtype)
        images = itertools.islice(iterate_images(data), image.n_done, None)
        image.fill(_numbered(trunks.images(images, str(data)), image.n_done), "images")
        text = _Rows(folder / "text", len(texts), options.dtype)
        text.fill(trunks.texts(texts, text.n_done), "texts")
        with atomic_folder(out) as finished:
            image.move(finished / "image.npy")
            text.move(finished / "text.npy")
            write_table(pa.table({"key": pa.array(keys, pa.string())}), finished / "keys.parquet")
            write_table(pa.table({"text": pa.array(texts, pa.string())}), finished / "texts.parquet")
            manifest.write(finished / "manifest.json", model_identity=identity, n_images=len(keys), n_texts=len(texts))
        shutil.rmtree(folder)


class _Rows:
    """A matrix on disk that is filled in batches, and the number of rows that are done."""

    def __init__(self, path: Path, n_rows: int, dtype: str):
        self._path, self._progress = path.with_suffix(".npy"), path.with_suffix(".json")
        self._n_rows, self._dtype = n_rows, dtype
        recorded = json.loads(self._progress.read_text()) if self._progress.is_file() else {"done": 0}
        self.n_done: int = recorded["done"]

    def fill(self, batches: Iterable[tuple[np.ndarray, np.ndarray]], what: str) -> None:
        """Write the features of ``batches`` into their rows."""
        matrix = np.load(self._path, mmap_mode="r+") if self.n_done else None
        n_batches = 0
        for rows, features in track(batches, f"trunk features of {what}, batches"):
            if matrix is None:
                shape = (self._n_rows, features.shape[1])
                matrix = np.lib.format.open_memmap(self._path, "w+", np.dtype(self._dtype), shape)
            matrix[rows] = features
            self.n_done, n_batches = self.n_done + len(rows), n_batches + 1
            if n_batches % SAVED_EVERY == 0:
                self._record(matrix)
        if matrix is None:
            np.save(self._path, np.zeros((self._n_rows, 0), self._dtype))
        else:
            self._record(matrix)

    def move(self, path: Path) -> None:
        """Move the finished matrix to ``path``."""
        shutil.move(self._path, path)
        self._progress.unlink(missing_ok=True)

    def _record(self, matrix: np.memmap) -> None:
        matrix.flush()
        write_json({"done": self.n_done}, self._progress)


def _numbered(batches: Iterable[np.ndarray], first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches with the numbers of their rows, from ``first`` on."""
    for batch in batches:
        yield np.arange(first, first + len(batch)), batch
        first += len(batch)


def _texts_of(data: Path) -> list[str]:
    """All captions and foils of a data folder."""
    table = read_pairs(data)
    foils = table["foil"].to_pylist() if "foil" in table.column_names else []
    return [text for captions in table["captions"].to_pylist() for text in captions] + [foil for foil in foils if foil]


def _prompt_texts(path: Path) -> list[str]:
    prompts = read_prompts(path)
    return [
        text for template in prompts.templates for name in prompts.classes for text in prompts.texts(template, name)
    ]
