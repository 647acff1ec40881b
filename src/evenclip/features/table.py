"""Trunk features of one data set: the files that `evenclip features` writes, read and checked."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from evenclip.digests import check_digest, check_output
from evenclip.errors import InputError
from evenclip.model.identity import model_identity
from evenclip.provenance import input_digest
from evenclip.tables import read_table


@dataclass(frozen=True)
class FeatureTable:
    """Memory-mapped trunk features of a data folder's images, in its order, and of its distinct texts, sorted.

    ``image`` has shape (n, p), ``text`` shape (m, q), float16 or float32; ``keys`` (n,) and ``texts`` (m,) are str.
    """

    model: str
    image: np.ndarray
    keys: np.ndarray
    text: np.ndarray
    texts: np.ndarray

    @classmethod
    def read(cls, folder: Path, data: Path, model: str | None = None) -> Self:
        """Read the features of ``data``.

        Parameters
        ----------
        folder : Path
        data : Path
            Folder of image-text shards.
        model : str, optional
            The model whose trunks they should be of, as `evenclip.model.clip.load_clip` takes it.

        Raises
        ------
        InputError
            Not such a folder, or made of other data or by another model.
        """
        again = "make it again with `evenclip features`"
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            check_digest(manifest, folder / "manifest.json")
            if manifest["stage"] != "features":
                raise KeyError("stage")
            for name in ("image", "text"):
                check_output(folder / f"{name}.npy")
            arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text")]
        except (OSError, ValueError, KeyError):
            raise InputError("no trunk features in it", str(folder), again) from None
        if manifest["inputs"]["data"]["sha256"] != input_digest(data):
            raise InputError(f"these are features of other data than {data}", str(folder), again)
        if model is not None and manifest["model_identity"] != model_identity(model):
            raise InputError(f"these are features of another model than {model}", str(folder), again)
        keys, texts = (
            np.array(read_table(folder / f"{file}.parquet", [column])[column].to_pylist(), dtype=object)
            for file, column in (("keys", "key"), ("texts", "text"))
        )
        return cls(manifest["options"]["model"], arrays[0], keys, arrays[1], texts)

    def text_rows(self, texts: list[str]) -> np.ndarray:
        """Row of each text, shape (len(texts),), int; -1 for a text that is not there."""
        return np.array([self._row_of_text.get(text, -1) for text in texts], dtype=np.int64)

    @cached_property
    def _row_of_text(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.texts)}
