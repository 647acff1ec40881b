"""CLIP_benchmark's own functions on a model folder and a data folder, for the tests of parity.

Its zero-shot accuracy (1.6.2) turns arrays of one element into numbers, which NumPy 2.4 refuses: the tests that need it
skip there, and run with NumPy 2.3.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from evenclip.data.shards import iterate_images, read_pairs
from evenclip.prompts import read_prompts

needs_old_numpy = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "2.4.0", reason="clip-benchmark's accuracy needs NumPy < 2.4"
)


class _Loader:
    """What CLIP_benchmark takes for a DataLoader: batches of (images, targets)."""

    def __init__(self, transform, data: Path, targets: list, batch_size: int, classes: list[str]):
        self._transform, self._data, self._targets, self._size = transform, data, targets, batch_size
        self.dataset = SimpleNamespace(classes=classes)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, list | torch.Tensor]]:
        images = [self._transform(Image.open(io.BytesIO(jpeg))) for _, jpeg in iterate_images(self._data)]
        for start in range(0, len(images), self._size):
            targets = self._targets[start : start + self._size]
            if isinstance(targets[0], int):
                targets = torch.tensor(targets)
            yield torch.stack(images[start : start + self._size]), targets


def _load(run: Path):
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{run}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{run}")


def peer_zeroshot(run: Path, data: Path, prompts: Path, column: str) -> dict[str, float]:
    """acc1, acc5 and mean_per_class_recall; prompts must have one text for each class."""
    from clip_benchmark.metrics import zeroshot_classification

    model, transform, tokenizer = _load(run)
    classes = read_prompts(prompts)
    names = list(classes.classes)
    targets = [names.index(value) for value in read_pairs(data, [column])[column].to_pylist()]
    texts = [name for (name,) in classes.classes.values()]
    templates = [template.replace("{}", "{c}") for template in classes.templates]
    loader = _Loader(transform, data, targets, 64, names)
    return zeroshot_classification.evaluate(model, loader, tokenizer, texts, templates, "cpu", amp=False)


def peer_retrieval(run: Path, data: Path) -> dict[str, float]:
    """image_retrieval_recall@k and text_retrieval_recall@k for k = 1, 5, 10."""
    from clip_benchmark.metrics import zeroshot_retrieval

    model, transform, tokenizer = _load(run)
    loader = _Loader(transform, data, read_pairs(data, ["captions"])["captions"].to_pylist(), 50, [])
    return zeroshot_retrieval.evaluate(model, loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
