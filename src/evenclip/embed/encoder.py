"""Embedding of images and texts in batches, and the arrays of data folders and prompt files."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from evenclip.data.shards import iterate_images, read_pairs
from evenclip.embed.options import EmbedOptions
from evenclip.features.table import FeatureTable
from evenclip.model.clip import Clip, resolve_device
from evenclip.model.images import decode_images, normalise
from evenclip.model.towers import encode_image, encode_text, text_lengths, trim
from evenclip.prompts import Prompts

CACHED_ROWS = 8192
"""Images whose trunk features are embedded at once."""


class Encoder:
    """A loaded model; its embeddings equal those of plain open_clip with the same weights."""

    def __init__(self, clip: Clip, options: EmbedOptions):
        torch.set_num_threads(options.threads)
        self.device = resolve_device(options.device)
        self._clip, self._options = clip, options
        self._module = clip.module.to(self.device).eval()

    @property
    def logit_scale(self) -> float:
        """Factor of the similarities."""
        return self._module.logit_scale.exp().item()

    @property
    def logit_bias(self) -> float:
        """Summand of the scaled similarities; 0 for a model trained with softmax."""
        return 0.0 if self._clip.logit_bias is None else self._clip.logit_bias.item()

    def data_images(self, data: Path) -> tuple[list[str], np.ndarray]:
        """Embed the images of a data folder: the keys, and shape (n, d), float32, unit rows."""
        return self.images(iterate_images(data), str(data))

    def images(self, images: Iterable[tuple[str, bytes]], where: str) -> tuple[list[str], np.ndarray]:
        """Embed (key, JPEG bytes) in order: the keys, and shape (n, d), float32, unit rows."""
        decoded = decode_images(images, self._clip.preprocess_cfg, where, self._options.threads)
        keys, features = [], []
        while batch := list(islice(decoded, self._options.batch_size)):
            keys += [key for key, _ in batch]
            inputs = torch.from_numpy(np.stack([pixels for _, pixels in batch])).to(self.device)
            with torch.inference_mode(), self._autocast():
                features.append(encode_image(self._module, normalise(inputs, self._clip.preprocess_cfg)).cpu())
        return keys, torch.cat(features).numpy()

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts in order: shape (n, d), float32, unit rows; equal texts are embedded once."""
        distinct, inverse = np.unique(np.array(texts, dtype=object), return_inverse=True)
        if not len(distinct):
            return np.zeros((0, self._clip.model_cfg["embed_dim"]), np.float32)
        tokens = self._clip.tokenizer(list(distinct))
        by_length = torch.argsort(
            text_lengths(self._module, tokens), stable=True
        )  # so that every batch is trimmed well
        features = torch.empty(len(distinct), self._clip.model_cfg["embed_dim"])
        with torch.inference_mode(), self._autocast():
            for rows in by_length.split(self._options.batch_size):
                inputs = trim(self._module, tokens[rows]).to(self.device)
                features[rows] = encode_text(self._module, inputs).cpu()
        return features.numpy()[inverse]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._options.precision == "bf16")


class CachedEncoder(Encoder):
    """Projections that embed cached trunk features of known data folders.

    Parameters
    ----------
    clip : Clip
        Projections alone, see `evenclip.features.projections`.
    options : EmbedOptions
    tables : mapping of Path to FeatureTable
        Of each data folder.
    """

    def __init__(self, clip: Clip, options: EmbedOptions, tables: Mapping[Path, FeatureTable]):
        super().__init__(clip, options)
        self._tables = tables

    def data_images(self, data: Path) -> tuple[list[str], np.ndarray]:
        """See `Encoder.data_images`."""
        table, embedded = self._tables[data], []
        for start in range(0, len(table.image), CACHED_ROWS):
            features = torch.from_numpy(table.image[start : start + CACHED_ROWS].copy())
            with torch.inference_mode(), self._autocast():
                embedded.append(encode_image(self._module, features.to(self.device)).cpu().numpy())
        return table.keys.tolist(), np.concatenate(embedded)


def embed_data(encoder: Encoder, data: Path) -> dict[str, np.ndarray]:
    """Arrays of a data folder, as `evenclip.embedding_files` describes them.

    ``key`` (n,) str; ``image`` (n, d); ``text`` (m, d) with ``text_image`` (m,), the row of its image; ``foil`` (n, d)
    where the set has that column (NaN rows where it is empty); ``logit_scale`` and ``logit_bias``. Embeddings are
    float32 and unit.
    """
    table = read_pairs(data)
    keys, captions = table["key"].to_pylist(), table["captions"].to_pylist()
    embedded, image = encoder.data_images(data)
    row_of = {key: row for row, key in enumerate(embedded)}
    arrays = {
        "key": np.array(keys),
        "image": image[[row_of[key] for key in keys]],
        "text": encoder.texts([text for texts in captions for text in texts]),
        "text_image": np.repeat(np.arange(len(captions)), [len(texts) for texts in captions]),
        "logit_scale": np.float64(encoder.logit_scale),
        "logit_bias": np.float64(encoder.logit_bias),
    }
    if "foil" in table.column_names:
        foils = [foil or "" for foil in table["foil"].to_pylist()]
        arrays["foil"] = encoder.texts(foils)
        arrays["foil"][[not foil for foil in foils]] = np.nan
    return arrays


def embed_prompts(encoder: Encoder, path: Path, prompts: Prompts) -> dict[str, np.ndarray]:
    """Arrays of a prompt file: ``prompt/<stem>`` (templates, classes, d) and ``prompt/<stem>/classes``.

    The embedding of a class in a template is the normalised mean over its texts.
    """
    groups = [prompts.texts(template, name) for template in prompts.templates for name in prompts.classes]
    features = encoder.texts([text for group in groups for text in group])
    ends = np.cumsum([len(group) for group in groups])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    shape = (len(prompts.templates), len(prompts.classes), -1)
    classes = np.array(list(prompts.classes))
    return {f"prompt/{path.stem}": means.reshape(shape), f"prompt/{path.stem}/classes": classes}
