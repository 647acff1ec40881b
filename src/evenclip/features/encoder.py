"""Images and texts to the features of a model's two trunks, in batches."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from evenclip.features.options import FeatureOptions
from evenclip.model.clip import Clip, resolve_device
from evenclip.model.images import decode_images, normalise
from evenclip.model.towers import encode_image, encode_text, text_lengths, trim
from evenclip.model.trunks import without_projections


class TrunkEncoder:
    """The two trunks of a model; features are float32 and of any length.

    Parameters
    ----------
    clip : Clip
        The whole model, with a projection in both towers.
    options : FeatureOptions
    """

    def __init__(self, clip: Clip, options: FeatureOptions):
        torch.set_num_threads(options.threads)
        self._clip, self._options, self._device = clip, options, resolve_device(options.device)
        self._module = clip.module.to(self._device).eval()

    def images(self, images: Iterable[tuple[str, bytes]], where: str) -> Iterator[np.ndarray]:
        """Features, shape (b, p), of (key, JPEG bytes), in order and in batches."""
        decoded = decode_images(images, self._clip.preprocess_cfg, where, self._options.threads)
        while batch := list(itertools.islice(decoded, self._options.batch_size)):
            pixels = torch.from_numpy(np.stack([pixels for _, pixels in batch])).to(self._device)
            with torch.inference_mode(), without_projections(self._module):
                yield encode_image(self._module, normalise(pixels, self._clip.preprocess_cfg), unit=False).cpu().numpy()

    def texts(self, texts: list[str], first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of ``texts`` and their features, shape (b, q), in batches, the shortest first.

        The ``first`` of this order are left out.
        """
        if not texts:
            return
        tokens = self._clip.tokenizer(texts)
        order = torch.argsort(text_lengths(self._module, tokens), stable=True)
        for rows in order[first:].split(self._options.batch_size):
            with torch.inference_mode(), without_projections(self._module):
                inputs = trim(self._module, tokens[rows]).to(self._device)
                features = encode_text(self._module, inputs, unit=False)
            yield rows.numpy(), features.cpu().numpy()
