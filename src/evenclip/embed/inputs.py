"""What models read of the sets that they embed: decoded images and tokens, made once for several models."""

import json
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenclip.data.shards import iterate_images, read_manifest
from evenclip.model.images import decode_images, input_size

KEPT_MB = 1024
"""Size of the decoded images that are kept at most; what does not fit is decoded again for each model."""


class Inputs:
    """Images and texts as models take them.

    Parameters
    ----------
    threads : int
        Images decoded at the same time.
    for_several : bool
        Keep what was made, for the next model that takes the same.
    """

    def __init__(self, threads: int, for_several: bool = False):
        self._threads, self._for_several, self._free_bytes = threads, for_several, KEPT_MB * 2**20
        self._images: dict[tuple, list[tuple[str, np.ndarray]]] = {}
        self._tokens: dict[tuple, torch.Tensor] = {}

    def images(
        self, data: Path, keys: Sequence[str] | None, preprocess_cfg: dict[str, Any]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Keys and pixels of a folder's images (all, or those of ``keys``), as `decode_images` yields them."""
        name = data, None if keys is None else tuple(keys), json.dumps(preprocess_cfg, sort_keys=True)
        if name in self._images:
            yield from self._images[name]
            return
        decoded = decode_images(iterate_images(data, keys), preprocess_cfg, str(data), self._threads)
        n_bytes = 3 * prod(input_size(preprocess_cfg)) * (read_manifest(data)["n"] if keys is None else len(keys))
        if not self._for_several or n_bytes > self._free_bytes:
            yield from decoded
            return
        kept = []
        for key, pixels in decoded:
            kept.append((key, np.ascontiguousarray(pixels)))
            yield kept[-1]
        self._images[name] = kept
        self._free_bytes -= n_bytes

    def tokens(self, tokenizer: Callable[[list[str]], torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
        """Tokens of ``texts``, shape (n, context)."""
        name = tokenizer, tuple(texts)  # models with the same configuration have the same tokenizer
        if name not in self._tokens:
            made = tokenizer(list(texts))
            if not self._for_several:
                return made
            self._tokens[name] = made
        return self._tokens[name]
