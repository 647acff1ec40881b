"""Pixels of the training images: decoded once into memory, or read from the shards again for every batch.

Both give the same pixels. Threads prepare the batches of the next steps while a step is under way.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from evenclip.data.shards import ImageLocation
from evenclip.errors import InputError
from evenclip.features.table import FeatureTable
from evenclip.model.images import decode_image, pixel_transform
from evenclip.train.batches import Batch

N_AHEAD = 2  # steps prepared in advance


class Pixels(Protocol):
    """Images of n pairs."""

    def at(self, rows: np.ndarray) -> torch.Tensor:
        """Images of some pairs, uint8, shape (b, 3, h, w), on the CPU."""


class PixelsInMemory:
    """Decoded images: ``pixels``, uint8, shape (n, 3, h, w).

    NumPy selects the rows, in one thread: torch would start a second pool of threads in the thread that prepares
    batches, and both pools would then sleep at each barrier.
    """

    def __init__(self, pixels: np.ndarray):
        self._pixels = pixels

    def at(self, rows: np.ndarray) -> torch.Tensor:
        """See `Pixels`."""
        return torch.from_numpy(self._pixels[rows])


class PixelsInShards:
    """Images that are read from the tar files and decoded when they are needed.

    Parameters
    ----------
    locations : list of ImageLocation
        Location of each pair's image.
    preprocess_cfg : dict
    threads : int
        Images decoded at the same time.
    """

    def __init__(self, locations: list[ImageLocation], preprocess_cfg: dict, threads: int):
        self._locations, self._transform = locations, pixel_transform(preprocess_cfg)
        self._identity = {tar: _identity(os.stat(tar)) for tar in {location.tar for location in locations}}
        self._threads, self._pool = threads, ThreadPoolExecutor(threads)

    def at(self, rows: np.ndarray) -> torch.Tensor:
        """See `Pixels`; `InputError` names the shard that vanished or changed, or the key of a damaged image."""
        blocks = np.array_split(rows, min(len(rows), 4 * self._threads))  # a single image is too small a task
        return torch.from_numpy(np.concatenate(list(self._pool.map(self._block, blocks))))

    def _block(self, rows: np.ndarray) -> np.ndarray:
        locations = [self._locations[row] for row in rows]
        return np.stack([decode_image(self._read(at), self._transform, f"{at.tar}, key {at.key}") for at in locations])

    def _read(self, location: ImageLocation) -> bytes:
        try:
            handle = os.open(location.tar, os.O_RDONLY)
        except OSError as error:
            raise _vanished(location.tar, error.strerror) from None
        try:
            if _identity(os.fstat(handle)) != self._identity[location.tar]:
                raise _vanished(location.tar, "it has been written again since the training began")
            content = os.pread(handle, location.size, location.offset)
        finally:
            os.close(handle)
        if len(content) < location.size:
            raise _vanished(location.tar, "it has become shorter")
        return content


class TrunkFeatures:
    """Cached features of the image trunk in place of pixels.

    Parameters
    ----------
    table : FeatureTable
    keys : list of str
        Of each pair.
    """

    def __init__(self, table: FeatureTable, keys: list[str]):
        row_of = {key: row for row, key in enumerate(table.keys)}
        self._features, self._rows = table.image, np.array([row_of[key] for key in keys])

    def at(self, rows: np.ndarray) -> torch.Tensor:
        """Features of some pairs, shape (b, p), in the type of the table, on the CPU."""
        return torch.from_numpy(self._features[self._rows[rows]])


@dataclass(frozen=True)
class Prepared:
    """A batch, and the pixels of this process's share of it."""

    batch: Batch
    pixels: torch.Tensor


class Prefetcher:
    """Prepares the pixels of the next steps in threads while a step is under way.

    Parameters
    ----------
    pixels : Pixels
    share : callable
        From the number of rows in a batch to the slice that this process needs.
    pin : bool
        Use pinned memory, from which a GPU copies asynchronously.
    """

    def __init__(self, pixels: Pixels, share: Callable[[int], slice], pin: bool):
        self._pixels, self._share, self._pin = pixels, share, pin
        self._pool = ThreadPoolExecutor(N_AHEAD)
        self._prepared: dict[int, tuple[Batch, Future[torch.Tensor]]] = {}

    def take(self, step: int, end: int, batch_at: Callable[[int], Batch]) -> Prepared:
        """The batch of ``step``; starts to prepare the next ones before ``end``. Calls ``batch_at`` in this thread."""
        for upcoming in range(step, min(step + 1 + N_AHEAD, end)):
            if upcoming not in self._prepared:
                batch = batch_at(upcoming)
                rows = batch.rows[self._share(len(batch.rows))]
                self._prepared[upcoming] = batch, self._pool.submit(self._prepare, rows)
        batch, pixels = self._prepared.pop(step)
        return Prepared(batch, pixels.result())

    def _prepare(self, rows: np.ndarray) -> torch.Tensor:
        images = self._pixels.at(rows)
        return images.pin_memory() if self._pin else images


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written or replaced."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _vanished(tar: Path, why: str) -> InputError:
    instead = "put it back, or make the data folder again; the training continues from its last saved state"
    return InputError(f"the shard cannot be read any more ({why})", str(tar), instead)
