"""What models read of the sets that they embed: decoded images and tokens, made once for several models."""

import json
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import SimpleTokenizer

from evenclip.data.shards import iterate_images, read_manifest
from evenclip.model.images import decode_images, input_size

KEPT_MB = 1024
"""Size of the images and tokens that are kept at most; what does not fit is made again for each model."""


class Inputs:
    """Images and texts as models take them.

    Parameters
    ----------
    threads : int
        Images decoded at the same time.
    for_several : bool
        Keep what was made, for other models that take the same.
    """

    def __init__(self, threads: int, for_several: bool = False):
        self._threads, self._free_bytes = threads, KEPT_MB * 2**20 if for_several else 0
        self._images: dict[tuple, list[tuple[str, np.ndarray]]] = {}
        self._tokens: dict[tuple, torch.Tensor] = {}

    def images(
        self, data: Path, keys: Sequence[str] | None, preprocess_cfg: dict[str, Any]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Keys and pixels of a folder's images (all, or those of ``keys``), as `decode_images` yields them."""
        manifest = read_manifest(data)
        chosen = None if keys is None else tuple(keys)
        name = data, manifest["content"], chosen, json.dumps(preprocess_cfg, sort_keys=True)
        if name in self._images:
            yield from self._images[name]
            return
        decoded = decode_images(iterate_images(data, keys), preprocess_cfg, str(data), self._threads)
        n_bytes = 3 * prod(input_size(preprocess_cfg)) * (manifest["n"] if keys is None else len(keys))
        if n_bytes > self._free_bytes:
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
        name = tokenizer, tuple(texts)
        if name in self._tokens:
            return self._tokens[name]
        tokens = tokenizer(list(texts))
        # models with the same configuration have the same tokenizer, unless it is made of files that may change
        if isinstance(tokenizer, SimpleTokenizer) and tokens.nbytes <= self._free_bytes:
            self._tokens[name] = tokens
            self._free_bytes -= tokens.nbytes
        return tokens
