"""The arrays of an embedded set: images and captions of a data folder, and the classes of a prompt file."""

from pathlib import Path

import numpy as np

from evenclip.data.shards import iterate_images, read_pairs
from evenclip.embed.encoder import Encoder
from evenclip.prompts import Prompts


def embed_data(encoder: Encoder, data: Path) -> dict[str, np.ndarray]:
    """Arrays of a data folder.

    ``key`` (n,) str; ``image`` (n, d); ``text`` (m, d) with ``text_image`` (m,), the row of its image; ``foil`` (n, d)
    where the set has that column (NaN rows where it is empty); ``logit_scale`` and ``logit_bias``. Embeddings are
    float32 and unit.
    """
    table = read_pairs(data)
    captions = table["captions"].to_pylist()
    arrays = {
        "key": np.array(table["key"].to_pylist()),
        "image": encoder.images(iterate_images(data), str(data)),
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

    A class in a template is the mean of its texts' embeddings, made unit again.
    """
    texts = [prompts.texts(template, name) for template in prompts.templates for name in prompts.classes]
    features = encoder.texts([text for several in texts for text in several])
    ends = np.cumsum([len(several) for several in texts])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    shape = (len(prompts.templates), len(prompts.classes), -1)
    classes = np.array(list(prompts.classes))
    return {f"prompt/{path.stem}": means.reshape(shape), f"prompt/{path.stem}/classes": classes}
